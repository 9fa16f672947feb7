//! The way to the broker that the settings name.

use std::sync::Arc;

use celeriac::settings::{Durability, Settings, Source};
use celeriac_broker::{Broker, BrokerError, StoreOptions, connect_with, embedded};
use celeriac_client::{Client, ConnectOptions};

use super::error::CliError;

/// A client of the broker that the settings name.
pub(crate) async fn connect(settings: &Settings) -> Result<Client, CliError> {
    Ok(Client::new(
        broker(settings).await?,
        ConnectOptions::default(),
    ))
}

/// The broker that the settings name, with the sizes, times and durability that they set.
pub(crate) async fn broker(settings: &Settings) -> Result<Arc<dyn Broker>, BrokerError> {
    let options = StoreOptions {
        caps: settings.caps,
        result_ttl: settings.result_ttl,
        dead_letters: settings.dead_letters,
        durability: match settings.durability {
            Durability::Normal => embedded::Durability::Normal,
            Durability::Full => embedded::Durability::Full,
        },
    };
    connect_with(&settings.broker, options).await
}

/// What to type to start a host on the same broker.
pub(crate) fn serve_command(settings: &Settings) -> String {
    let broker = settings
        .entries()
        .iter()
        .find(|entry| entry.row.key == "broker");
    match broker {
        // What comes from a flag or this shell's environment is not there in another terminal.
        Some(entry) if matches!(entry.source, Source::Flag(_) | Source::Environment(_)) => {
            format!("celeriac serve --broker {}", entry.value)
        }
        _ => "celeriac serve".to_owned(),
    }
}
