//! The database file: where it is, how it is opened, and which layout it has.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{Durability, fault::Fault};
use crate::{BrokerError, Namespace};

/// The layout that this version reads and writes.
pub(super) const LAYOUT_VERSION: i64 = 3;

/// Marks the file as ours: `cele` in ASCII.
const APPLICATION_ID: i64 = 0x6365_6c65;

/// How long a statement waits for another process's lock. Writers queue on a lock of their own, so
/// this only covers recovery after a crash.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Page cache of one connection, in KiB: the ends of a few queues and their records.
const CACHE_KIB: i64 = 16 << 10;

/// Where a store keeps its files.
#[derive(Clone, Debug)]
pub(super) struct Store {
    /// The directory, absolute.
    pub(super) dir: PathBuf,
    /// `embedded:DIR`.
    pub(super) address: String,
    pub(super) durability: Durability,
}

impl Store {
    /// Makes the directory, for its owner alone.
    pub(super) fn prepare(dir: &Path, durability: Durability) -> Result<Self, BrokerError> {
        let address = format!("embedded:{}", dir.display());
        let make = || -> io::Result<PathBuf> {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(dir)?;
            let dir = dir.canonicalize()?;
            builder.create(dir.join("bells"))?;
            Ok(dir)
        };
        let dir = make().map_err(|error| {
            unfit(
                &address,
                error.to_string(),
                "choose a directory that you may write to",
            )
        })?;
        Ok(Self {
            dir,
            address,
            durability,
        })
    }

    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("celeriac.db")
    }

    pub(super) fn bells(&self) -> PathBuf {
        self.dir.join("bells")
    }

    /// The file whose lock writers queue on: the system wakes the next one at once, where SQLite's
    /// own lock would be tried again and again.
    pub(super) fn write_lock(&self) -> Result<File, BrokerError> {
        let open = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(self.dir.join("write.lock"));
        open.map_err(|error| {
            unfit(
                &self.address,
                error.to_string(),
                "choose a directory that you may write to",
            )
        })
    }

    /// Opens the database for writing, and lays it out when it is new.
    pub(super) fn open_writer(&self, lock: &File) -> Result<(Connection, Namespace), BrokerError> {
        let open = || -> Result<_, Fault> {
            lock.lock()
                .map_err(|error| self.unavailable(error.to_string()))?;
            let db = Connection::open(self.database())?;
            self.tune(&db)?;
            db.pragma_update(None, "journal_mode", "wal")?;
            let synchronous = match self.durability {
                Durability::Normal => "normal",
                Durability::Full => "full",
            };
            db.pragma_update(None, "synchronous", synchronous)?;
            // The writer does it itself, after it has answered.
            db.pragma_update(None, "wal_autocheckpoint", 0)?;
            let namespace = self.lay_out(&db)?;
            db.execute_batch(super::kv::TABLES)?;
            db.execute_batch(super::schedules::TABLES)?;
            db.execute_batch(super::once::TABLES)?;
            Ok((db, namespace))
        };
        let result = open().map_err(|fault| fault.into_broker_error(&self.address));
        let _ = lock.unlock();
        result
    }

    /// Opens a connection that only reads. The database must have been laid out.
    pub(super) fn open_reader(&self) -> Result<Connection, BrokerError> {
        let open = || -> Result<_, Fault> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let db = Connection::open_with_flags(self.database(), flags)?;
            self.tune(&db)?;
            db.pragma_update(None, "query_only", true)?;
            Ok(db)
        };
        open().map_err(|fault| fault.into_broker_error(&self.address))
    }

    fn tune(&self, db: &Connection) -> Result<(), Fault> {
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.set_prepared_statement_cache_capacity(128);
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        db.pragma_update(None, "temp_store", "memory")?;
        Ok(())
    }

    fn lay_out(&self, db: &Connection) -> Result<Namespace, Fault> {
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => self.create(db),
            LAYOUT_VERSION => read_namespace(db),
            other => Err(unfit(
                &self.address,
                format!("its layout is {other} and this program reads layout {LAYOUT_VERSION}"),
                "run the version of Celeriac that wrote it, or choose another directory",
            )
            .into()),
        }
    }

    fn create(&self, db: &Connection) -> Result<Namespace, Fault> {
        let tables: i64 =
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables > 0 {
            let reason = "celeriac.db was written by another program".to_owned();
            return Err(unfit(&self.address, reason, "choose another directory").into());
        }
        let namespace = Namespace::generate();
        db.execute_batch("BEGIN IMMEDIATE")?;
        db.execute_batch(include_str!("schema.sql"))?;
        let insert = "INSERT INTO namespace VALUES (1, ?1, ?2)";
        db.execute(insert, (&namespace.key, namespace.partitions))?;
        db.pragma_update(None, "application_id", APPLICATION_ID)?;
        db.pragma_update(None, "user_version", LAYOUT_VERSION)?;
        db.execute_batch("COMMIT")?;
        Ok(namespace)
    }

    pub(super) fn unavailable(&self, reason: impl Into<String>) -> BrokerError {
        BrokerError::Unavailable {
            address: self.address.clone(),
            reason: reason.into(),
        }
    }

    /// Bytes that the write-ahead log takes on disk.
    pub(super) fn log_bytes(&self) -> u64 {
        fs::metadata(self.dir.join("celeriac.db-wal")).map_or(0, |file| file.len())
    }
}

fn read_namespace(db: &Connection) -> Result<Namespace, Fault> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Namespace {
            key: row.get(0)?,
            partitions: row.get(1)?,
        })
    };
    let stored = db
        .query_row("SELECT key, partitions FROM namespace", [], read)
        .optional()?;
    stored.ok_or_else(|| super::fault::damaged("the namespace", "its row is missing").into())
}

fn unfit(address: &str, reason: String, remedy: &str) -> BrokerError {
    BrokerError::Unfit {
        address: address.to_owned(),
        reason,
        remedy: remedy.to_owned(),
    }
}
