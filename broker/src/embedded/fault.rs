//! What goes wrong inside the engine, before it is told who asked.

use rusqlite::ErrorCode;

use crate::BrokerError;

/// An error of SQLite, or one that the caller shall see as it is.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Broker(BrokerError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<BrokerError> for Fault {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

impl Fault {
    /// As the caller sees it; `address` is the store's.
    pub(super) fn into_broker_error(self, address: &str) -> BrokerError {
        match self {
            Self::Broker(error) => error,
            Self::Sql(error) => sql_error(&error, address),
        }
    }
}

fn sql_error(error: &rusqlite::Error, address: &str) -> BrokerError {
    let unavailable = |hint: &str| BrokerError::Unavailable {
        address: address.to_owned(),
        reason: format!("{error}{hint}"),
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            unavailable(" (another program keeps the database locked)")
        }
        Some(ErrorCode::DiskFull) => unavailable(" (make room on its disk)"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            unavailable(" (check that the directory exists and belongs to you)")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => {
            damaged(address, error)
        }
        Some(_) => unavailable(""),
    }
}

/// That a record cannot be read.
pub(super) fn damaged(what: impl Into<String>, reason: impl std::fmt::Display) -> BrokerError {
    BrokerError::Damaged {
        what: what.into(),
        reason: reason.to_string(),
    }
}
