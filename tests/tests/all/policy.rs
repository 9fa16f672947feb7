//! What is granted, and what is not: by the settings file, to names that are rightly borne, and anew at SIGHUP.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use celeriac_client::{Code, Error, State};
use celeriac_tests::{HostProcess, Stage, until};
use rustix::process::Signal;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(10);

/// A module whose task `open` needs the secret `word`.
fn vault() -> Result<Vec<u8>> {
    Ok(wat::parse_str(include_str!("vault.wat"))?)
}

/// A host with a settings file of its own.
struct Vault {
    stage: Stage,
    host: HostProcess,
    settings: PathBuf,
    log: PathBuf,
}

impl Vault {
    async fn start(grants: &str) -> Result<Self> {
        let stage = Stage::embedded().await?;
        let settings = stage.dir.path().join("celeriac.toml");
        let log = stage.dir.path().join("log");
        fs::write(stage.dir.path().join("word"), "open sesame\n")?;
        fs::write(&settings, with_place(grants, stage.dir.path()))?;
        let host = stage
            .host_logging(&["--config", path(&settings)?], &log)
            .await?;
        Ok(Self {
            stage,
            host,
            settings,
            log,
        })
    }

    /// Writes new grants and has the host take them; returns once it has said what it did.
    async fn reload(&self, settings: &str) -> Result<String> {
        fs::write(&self.settings, with_place(settings, self.stage.dir.path()))?;
        let before = fs::read_to_string(&self.log)?.len();
        self.host.signal(Signal::HUP);
        until(PATIENCE, "the host says what it did", || async {
            Ok(self.logged(before)?.contains("reloaded"))
        })
        .await?;
        self.logged(before)
    }

    fn logged(&self, from: usize) -> Result<String> {
        let log = fs::read_to_string(&self.log)?;
        Ok(log.get(from..).unwrap_or_default().to_owned())
    }

    /// Opens the vault; the denial if there is one.
    async fn open(&self, task: &str) -> Result<Option<String>> {
        match self.stage.client.call::<Value>(task, &Value::Null).await {
            Ok(_) => Ok(None),
            Err(Error::Failed(failed)) if failed.failure.kind == "denied" => {
                Ok(Some(failed.failure.message))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn celeriac(&self, arguments: &[&str]) -> Result<Output> {
        let binary = std::env::var_os("CELERIAC_BIN").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/celeriac"),
            PathBuf::from,
        );
        let dir = self.stage.dir.path();
        Ok(Command::new(binary)
            .args(arguments)
            .args([
                "--config",
                path(&self.settings)?,
                "--broker",
                &self.stage.url,
            ])
            .env("CELERIAC_CACHE_DIR", dir.join("cache"))
            .env("HOME", dir)
            .current_dir(dir)
            .output()?)
    }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path of UTF-8")
}

fn with_place(text: &str, dir: &Path) -> String {
    text.replace("$DIR", &dir.display().to_string())
}

const GRANT: &str = "[grants.\"vault\"]\nsecrets = { word = { file = \"$DIR/word\" } }\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_grants_what_was_denied_and_leaves_alone_what_runs() -> Result<()> {
    let vault = Vault::start("").await?;
    let admitted = vault.stage.client.admit(self::vault()?, "vault").await?;
    let ungranted = admitted
        .ungranted
        .context("the upload says what is not granted")?;
    assert_eq!(
        (
            ungranted.needs[0].task.as_str(),
            ungranted.needs[0].name.as_str()
        ),
        ("open", "word")
    );
    vault.stage.push(&["basics"]).await?;
    let running = vault
        .stage
        .client
        .submit("basics/sleep", &json!({"seconds": 3.0, "steps": 30}))
        .await?;
    until(PATIENCE, "it runs", || async {
        Ok(running.status().await?.state == State::Running)
    })
    .await?;

    let denied = vault.open("vault/open").await?.context("it is denied")?;
    let lines = "[grants.\"vault\"]\nsecrets = { word = { file = \"/run/secrets/word\" } }";
    assert!(
        denied.contains(lines) && ungranted.remedy[0].contains(lines),
        "{denied}"
    );
    vault.open("vault/open").await?;
    let log = vault.logged(0)?;
    assert_eq!(
        log.matches("secret `word`").count(),
        1,
        "logged once: {log}"
    );

    let said = vault.reload(GRANT).await?;
    assert!(said.contains("`vault` is new"), "{said}");
    assert_eq!(vault.open("vault/open").await?, None);

    fs::write(vault.stage.dir.path().join("word"), "close sesame\n")?;
    let said = vault.reload(&format!("grace = \"7s\"\n{GRANT}")).await?;
    assert!(
        said.contains("secret `word` of `vault` has a new value"),
        "{said}"
    );
    assert!(said.contains("the setting `grace` has changed"), "{said}");
    assert!(!vault.logged(0)?.contains("sesame"), "no value is logged");

    let said = vault.reload("[grants.\"vault\"]\nsecret = {}\n").await?;
    assert!(
        said.contains("line 2") && said.contains("did you mean `secrets`"),
        "{said}"
    );
    assert_eq!(
        vault.open("vault/open").await?,
        None,
        "the old policy holds"
    );

    vault.reload("").await?;
    assert!(
        vault.open("vault/open").await?.is_some(),
        "what was granted can be taken back"
    );
    assert_eq!(
        running.outcome().await?.code,
        Code::Ok,
        "undisturbed by five reloads"
    );
    assert_eq!(running.status().await?.attempts, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_had_by_bearing_a_name_and_not_by_claiming_it() -> Result<()> {
    let vault = Vault::start(GRANT).await?;
    let client = &vault.stage.client;
    let digest = client.push(self::vault()?, "impostor").await?.digest;
    for task in [
        "impostor/open".to_owned(),
        format!("{digest}/open"),
        format!("vault@{digest}/open"),
    ] {
        assert!(vault.open(&task).await?.is_some(), "{task}");
    }
    client.push(self::vault()?, "vault@1.0.0").await?;
    for task in [
        "vault/open".to_owned(),
        "vault@1.0.0/open".to_owned(),
        format!("vault@{digest}/open"),
    ] {
        assert_eq!(vault.open(&task).await?, None, "{task}");
    }
    for task in ["impostor/open".to_owned(), format!("{digest}/open")] {
        assert!(vault.open(&task).await?.is_some(), "{task}");
    }
    let by_version = GRANT.replace("vault\"]", "vault@1.*\"]");
    vault.reload(&by_version).await?;
    assert_eq!(
        vault.open("vault/open").await?,
        None,
        "the name leads to a version that it is granted to"
    );
    vault
        .reload(&GRANT.replace("vault\"]", "vault@2.*\"]"))
        .await?;
    assert!(vault.open("vault/open").await?.is_some());
    vault
        .reload(&GRANT.replace("vault\"]", &format!("{digest}\"]")))
        .await?;
    assert_eq!(vault.open(&format!("{digest}/open")).await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_who_gets_what_and_why() -> Result<()> {
    let vault = Vault::start("").await?;
    let file = vault.stage.dir.path().join("vault.wasm");
    fs::write(&file, self::vault()?)?;
    let text = |output: &Output| {
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    };
    let pushed = text(&vault.celeriac(&["push", "vault.wasm", "--name", "vault@1.0.0"])?);
    assert!(
        pushed.contains("vault@1.0.0/open asks for secret word: not granted"),
        "{pushed}"
    );
    assert!(pushed.contains("kill -HUP"), "{pushed}");

    let denied = vault.celeriac(&["run", "vault.wasm", "open"])?;
    assert_eq!(denied.status.code(), Some(1), "{}", text(&denied));
    for module in ["vault", "vault.wasm"] {
        let explained = text(&vault.celeriac(&["policy", "explain", module])?);
        assert!(
            explained.contains("secret word: not granted"),
            "{explained}"
        );
        assert!(
            explained.contains("word = { file = \"/run/secrets/word\" }"),
            "{explained}"
        );
    }

    fs::write(
        &vault.settings,
        with_place(
            &format!("{GRANT}limits = {{ log_lines = 5 }}\n"),
            vault.stage.dir.path(),
        ),
    )?;
    for module in ["vault", "vault@1.0.0", "vault.wasm"] {
        let explained = vault.celeriac(&["policy", "explain", module, "--json"])?;
        let document: Value =
            serde_json::from_slice(&explained.stdout).with_context(|| text(&explained))?;
        assert_eq!(
            document["tasks"][0]["needs"][0]["granted_by"],
            json!(["vault"])
        );
        assert_eq!(document["tasks"][0]["limits"]["log_lines"], 5);
        assert_eq!(document["add"], json!([]));
    }
    let granted = vault.celeriac(&["run", "vault.wasm", "open"])?;
    assert!(granted.status.success(), "{}", text(&granted));
    let other = vault.celeriac(&["run", "vault.wasm", "open", "--as", "other"])?;
    assert_eq!(other.status.code(), Some(1), "{}", text(&other));

    let checked = vault.celeriac(&["policy", "check", "--json"])?;
    let document: Value =
        serde_json::from_slice(&checked.stdout).with_context(|| text(&checked))?;
    assert_eq!(document["grants"][0]["pattern"], "vault");
    assert_eq!(document["unmatched"], json!([]));
    assert!(!text(&checked).contains("sesame"));
    fs::write(
        &vault.settings,
        "[grants.\"nobody\"]\nlimits = { fuel = \"999T\" }\n",
    )?;
    let checked = text(&vault.celeriac(&["policy", "check"])?);
    ensure!(
        checked.contains("for no uploaded module")
            && checked.contains("not below what the host allows"),
        "{checked}"
    );
    fs::write(
        &vault.settings,
        "[grants.\"nobody\"]\nsecrets = { a = { file = \"/none\" } }\n",
    )?;
    let broken = vault.celeriac(&["policy", "check"])?;
    assert_eq!(broken.status.code(), Some(2));
    assert!(
        text(&broken).contains("secrets.a") && text(&broken).contains("/none cannot be read"),
        "{}",
        text(&broken)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_systemd_is_a_source_of_secrets() -> Result<()> {
    let stage = Stage::embedded().await?;
    let credentials = stage.dir.path().join("credentials");
    fs::create_dir(&credentials)?;
    fs::write(credentials.join("vault.word"), "open sesame\n")?;
    let settings = stage.dir.path().join("celeriac.toml");
    let grant = "[grants.\"vault\"]\nsecrets = { word = { credential = \"vault.word\" } }\n";
    fs::write(&settings, grant)?;
    let cache = stage.dir.path().join("cache");
    let environment = [
        ("CREDENTIALS_DIRECTORY", path(&credentials)?),
        ("CELERIAC_CACHE_DIR", path(&cache)?),
    ];
    let host = stage
        .host_with(&["--config", path(&settings)?], &environment)
        .await?;
    stage.client.push(vault()?, "vault").await?;
    stage
        .client
        .call::<Value>("vault/open", &Value::Null)
        .await?;
    // Started by hand there are none, and the host says so instead of running without the secret.
    let vault = Vault {
        log: stage.dir.path().join("log"),
        stage,
        host,
        settings,
    };
    let refused = vault.celeriac(&["serve"])?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{words}");
    for word in [
        "CREDENTIALS_DIRECTORY is not set",
        "LoadCredential=",
        "secrets.word",
    ] {
        assert!(words.contains(word), "`{word}` in: {words}");
    }
    Ok(())
}
