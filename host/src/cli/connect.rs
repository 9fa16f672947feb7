//! The way to the broker that the settings name.

use std::{path::PathBuf, sync::Arc};

use celeriac::settings::{Durability, Settings, Source};
use celeriac_broker::{
    Broker, BrokerError, StoreOptions, connect_with,
    embedded::{self, EmbeddedBroker, EmbeddedOptions},
};
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
    if let Some(directory) = settings.broker.strip_prefix("embedded:") {
        return open(PathBuf::from(directory), settings).await;
    }
    let options = StoreOptions {
        caps: settings.caps,
        result_ttl: settings.result_ttl,
    };
    connect_with(&settings.broker, options).await
}

/// Opening a database waits for the disk: not on a thread of the runtime.
async fn open(directory: PathBuf, settings: &Settings) -> Result<Arc<dyn Broker>, BrokerError> {
    let options = EmbeddedOptions {
        caps: settings.caps,
        result_ttl: settings.result_ttl,
        durability: match settings.durability {
            Durability::Normal => embedded::Durability::Normal,
            Durability::Full => embedded::Durability::Full,
        },
    };
    let address = settings.broker.clone();
    let opened =
        tokio::task::spawn_blocking(move || EmbeddedBroker::open(&directory, options)).await;
    let broker = opened.map_err(|error| BrokerError::Unavailable {
        address,
        reason: error.to_string(),
    })?;
    Ok(broker?)
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
