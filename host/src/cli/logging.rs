//! The program's own log, on standard error.

use celeriac::settings::{LogFormat, Settings};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Starts to log as the settings say. Commands other than `serve` pass the warnings only, unless a level was set.
pub(crate) fn start(settings: &Settings) {
    let level = match settings.is_set("log.level") {
        true => settings.log_level.parse().unwrap_or(LevelFilter::INFO),
        false => LevelFilter::WARN,
    };
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let has_colour =
        anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let layer = match settings.log_format {
        LogFormat::Text => format.with_target(false).with_ansi(has_colour).boxed(),
        LogFormat::Json => format.json().boxed(),
    };
    // A second subscriber in one process would be refused; there is one.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(level))
        .try_init();
}
