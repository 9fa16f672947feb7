//! The broker's part of `celeriac doctor`.

use std::time::{Duration, Instant};

use celeriac::settings::{Settings, without_password};
use celeriac_broker::{Broker, Check, Verdict};
use tokio::time::timeout;

use super::{check, good};
use crate::cli::{
    connect::{connect, serve_command},
    error::CliError,
    figures::span,
};

/// How long the broker may take to answer everything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every check of the broker, and whether it answers.
pub(super) async fn checks(settings: &Settings) -> (Vec<Check>, bool) {
    let asked = async {
        let client = connect(settings).await?;
        let begin = Instant::now();
        let mut checks = client.broker().check().await?;
        let answered = format!(
            "{} answers in {}",
            client.broker().address(),
            shown(begin.elapsed())
        );
        checks.insert(0, good("broker", answered));
        checks.push(hosts(client.broker().as_ref(), settings).await?);
        Ok::<_, CliError>(checks)
    };
    let address = without_password(&settings.broker);
    let error = match timeout(PATIENCE, asked).await {
        Ok(Ok(checks)) => return (checks, true),
        Ok(Err(error)) => error,
        Err(_) => CliError::usage(
            format!("{address} does not answer within {}", shown(PATIENCE)),
            "check the address and the network",
        ),
    };
    (
        vec![check("broker", Verdict::Bad, error.message, error.remedy)],
        false,
    )
}

fn shown(duration: Duration) -> String {
    match duration.as_millis() {
        0..10 => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        ms => span(u64::try_from(ms).unwrap_or(u64::MAX)),
    }
}

async fn hosts(broker: &dyn Broker, settings: &Settings) -> Result<Check, CliError> {
    let hosts = broker.hosts().await?;
    let versions = hosts
        .iter()
        .filter(|host| host.version != env!("CARGO_PKG_VERSION"))
        .count();
    Ok(match hosts.len() {
        0 => check(
            "hosts",
            Verdict::Warning,
            "no host is alive",
            format!("`{}` starts one", serve_command(settings)),
        ),
        count if versions > 0 => check(
            "hosts",
            Verdict::Warning,
            format!(
                "{count} alive, {versions} of another version than {}",
                env!("CARGO_PKG_VERSION")
            ),
            "upgrade them one after the other",
        ),
        count => good("hosts", format!("{count} alive")),
    })
}
