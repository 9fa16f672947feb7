//! The upload check: it answers for any bytes, and a refusal says where and what.

use celeriac::module::{UploadCaps, check};

/// Far less than a host takes, so that the bound itself is met.
const MAX_BYTES: u64 = 12 << 10;

/// Checks an upload.
pub fn run(data: &[u8]) {
    let caps = UploadCaps {
        module: MAX_BYTES,
        ..UploadCaps::default()
    };
    let Err(report) = check(data, &caps) else {
        assert!(data.len() as u64 <= MAX_BYTES, "too large, and taken");
        return;
    };
    assert!(!report.is_clean(), "refused without a finding");
    for finding in &report.findings {
        assert!(
            !finding.place.is_empty() && !finding.message.is_empty(),
            "{finding:?}"
        );
        // A report is shown to a person: what it quotes of the upload must not fill the screen.
        assert!(
            report.to_string().len() < 64 << 10,
            "a report of {} bytes",
            report.to_string().len()
        );
    }
}
