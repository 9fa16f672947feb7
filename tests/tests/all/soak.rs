//! A short soak, so that the tool for long ones does not rot: `make soak` runs half an hour of it.

use std::process::Command;

use anyhow::Result;
use serde_json::Value;

#[test]
fn a_short_soak_with_a_fault_every_other_second_accounts_for_everything() -> Result<()> {
    let report = tempfile::NamedTempFile::new()?;
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    soak.args([
        "--time", "20s", "--rate", "60", "--every", "3s", "--ttl", "15s",
    ]);
    let output = soak.arg("--report").arg(report.path()).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    let came_to = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{came_to}");
    let report: Value = serde_json::from_slice(&std::fs::read(report.path())?)?;
    let number = |name: &str| report[name].as_u64().unwrap();
    assert!(number("accepted") > 300, "{report}");
    assert_eq!(
        number("accepted"),
        number("ended") + number("unread"),
        "{report}"
    );
    let faults = report["faults"].as_object().unwrap().values();
    assert!(
        faults.filter_map(Value::as_u64).sum::<u64>() >= 2,
        "{report}"
    );
    Ok(())
}

#[test]
fn a_soak_says_what_is_wrong_with_its_options() -> Result<()> {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    let output = soak.args(["--time", "soon"]).output()?;
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--time is `soon`"), "{told}");
    Ok(())
}
