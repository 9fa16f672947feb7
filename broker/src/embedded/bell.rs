//! Bells: how processes on one store wake each other. A bell is a datagram socket in `DIR/bells`;
//! ringing it sends one byte.
//!
//! A ring carries nothing: whoever hears it looks into the store. So rings may be lost in each other
//! (a full socket has rings that are still to be heard), and a bell may be rung for nothing.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    net::Shutdown,
    os::{fd::AsRawFd as _, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

/// What every bell of a process that reserves starts with.
pub(super) const WORK: &str = "work-";

/// What every bell of a process that listens for anything else starts with.
pub(super) const TALK: &str = "talk-";

/// A directory that changed this recently may change again without its time showing it.
const SETTLED: Duration = Duration::from_millis(100);

/// All bells of a store.
#[derive(Debug)]
pub(super) struct Tower {
    dir: PathBuf,
    /// Open so that bells can be named through it when the directory's own name is too long.
    handle: File,
    sender: UnixDatagram,
    /// The bells for work, and when the directory had changed when they were listed.
    listed: Mutex<(Option<SystemTime>, Arc<[String]>)>,
}

/// What became of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    /// It is heard, or will be.
    Heard,
    /// Nobody hears this bell any more; it has been taken down.
    Gone,
}

impl Tower {
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        let sender = UnixDatagram::unbound()?;
        sender.set_nonblocking(true)?;
        Ok(Self {
            handle: File::open(&dir)?,
            dir,
            sender,
            listed: Mutex::new((None, Arc::default())),
        })
    }

    /// Hangs a bell; `on_ring` is called on a thread of its own, once for all rings that have come.
    pub(super) fn hang(
        &self,
        name: &str,
        on_ring: impl FnMut() + Send + 'static,
    ) -> io::Result<Bell> {
        let socket = UnixDatagram::bind(self.short_path(name)?)?;
        let ears = socket.try_clone()?;
        thread::Builder::new()
            .name("celeriac-bell".to_owned())
            .spawn(move || listen(&ears, on_ring))?;
        Ok(Bell {
            socket,
            path: self.dir.join(name),
        })
    }

    /// Rings one bell.
    pub(super) fn ring(&self, name: &str) -> Rung {
        let Ok(path) = self.short_path(name) else {
            return Rung::Heard;
        };
        match self.sender.send_to(&[1], path) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionRefused | ErrorKind::NotFound
                ) =>
            {
                let _ = fs::remove_file(self.dir.join(name));
                Rung::Gone
            }
            // Full is as good as rung; anything else is found by looking, later.
            _ => Rung::Heard,
        }
    }

    /// Rings the bells for work of all processes but the one whose bell is `own`.
    pub(super) fn ring_for_work(&self, own: Option<&str>) {
        for name in self.work_bells().iter() {
            if Some(name.as_str()) != own {
                self.ring(name);
            }
        }
    }

    fn work_bells(&self) -> Arc<[String]> {
        let changed = fs::metadata(&self.dir).and_then(|dir| dir.modified()).ok();
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if listed.0.is_none() || listed.0 != changed {
            let is_settled = changed
                .and_then(|at| at.elapsed().ok())
                .is_some_and(|age| age > SETTLED);
            *listed = (changed.filter(|_| is_settled), list(&self.dir).into());
        }
        Arc::clone(&listed.1)
    }

    /// A path that fits into a socket address, which takes 107 bytes.
    fn short_path(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(path);
        }
        if cfg!(target_os = "linux") {
            return Ok(Path::new("/proc/self/fd")
                .join(self.handle.as_raw_fd().to_string())
                .join(name));
        }
        let reason = format!(
            "{} is too long for a socket: choose a directory with a shorter name",
            path.display()
        );
        Err(io::Error::new(ErrorKind::InvalidInput, reason))
    }
}

/// The shortest limit of the systems we know: macOS takes 103 bytes, Linux 107.
const MAX_SOCKET_PATH: usize = 103;

fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(WORK)).collect()
}

fn listen(ears: &UnixDatagram, mut on_ring: impl FnMut()) {
    let mut ring = [0; 1];
    // No byte means that the bell was taken down.
    while ears.recv(&mut ring).is_ok_and(|bytes| bytes > 0) {
        let _ = ears.set_nonblocking(true);
        while ears.recv(&mut ring).is_ok_and(|bytes| bytes > 0) {}
        let _ = ears.set_nonblocking(false);
        on_ring();
    }
}

/// A bell that this process hears. Taken down when dropped.
#[derive(Debug)]
pub(super) struct Bell {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Drop for Bell {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!(
            "celeriac-bell-{}-{name}",
            uuid::Uuid::new_v4().simple()
        ));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn is_heard_in_a_directory_whose_name_is_long() {
        let dir = scratch(&"x".repeat(120));
        let tower = Tower::open(dir.clone()).unwrap();
        let (heard, rings) = mpsc::channel();
        let bell = tower
            .hang("work-a", move || heard.send(()).unwrap())
            .unwrap();
        assert_eq!(tower.ring("work-a"), Rung::Heard);
        rings.recv_timeout(Duration::from_secs(5)).unwrap();
        drop(bell);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn takes_down_the_bell_of_a_dead_process() {
        let dir = scratch("dead");
        let tower = Tower::open(dir.clone()).unwrap();
        // As a killed process leaves it: the file is there, the socket is not.
        drop(UnixDatagram::bind(dir.join("talk-b")).unwrap());
        assert!(dir.join("talk-b").exists());
        assert_eq!(tower.ring("talk-b"), Rung::Gone);
        assert!(!dir.join("talk-b").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
