//! A real Redis for tests and benchmarks: on a free loopback port, in a temporary directory, ended by its pid.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Has this process set the clocks of its brokers, for the model check: they are as late as `jump` says, and what falls
/// due is done by `tick` alone. Must be called before the first broker is opened.
pub fn simulate_time() {
    crate::simulation::simulate();
}

/// How long the server may take to start: loading an append-only file included.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Whether the server survives being killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AofMode {
    /// Nothing is written to disk.
    Off,
    /// `appendfsync everysec`, the usual setting.
    EverySecond,
    /// `appendfsync always`: what was answered is on disk.
    Always,
}

/// A `redis-server` of one's own. Killed, and its directory removed, when dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    directory: PathBuf,
    aof: AofMode,
    extra: Vec<String>,
    /// None while it is stopped.
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server with an empty store.
    ///
    /// # Errors
    /// When there is no `redis-server` on the PATH, or it does not start.
    pub fn start(aof: AofMode) -> io::Result<Self> {
        Self::start_with(aof, &[])
    }

    /// Starts a server with further options, such as `["--maxmemory-policy", "allkeys-lru"]`.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_with(aof: AofMode, extra: &[&str]) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let directory =
            std::env::temp_dir().join(format!("celeriac-redis-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&directory)?;
        let mut server = Self {
            port,
            directory,
            aof,
            extra: extra.iter().map(|&option| option.to_owned()).collect(),
            child: None,
        };
        server.restart()?;
        Ok(server)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process; none while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it cannot be reached or waited for.
    pub fn stop(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            // No answer comes back: the server is gone.
            let _ = self.command("SHUTDOWN NOSAVE");
            child.wait()?;
        }
        Ok(())
    }

    /// Ends it with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Starts it again on the same port and directory; ends it first where it runs.
    ///
    /// # Errors
    /// As `start`.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop()?;
        let appendfsync = match self.aof {
            AofMode::Always => "always",
            _ => "everysec",
        };
        let mut command = Command::new("redis-server");
        command
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--maxmemory-policy",
                "noeviction",
                "--loglevel",
                "warning",
            ])
            .args(["--port", &self.port.to_string()])
            .arg("--dir")
            .arg(&self.directory)
            .args(["--logfile", "redis.log"])
            .args([
                "--appendonly",
                if self.aof == AofMode::Off {
                    "no"
                } else {
                    "yes"
                },
            ])
            .args(["--appendfsync", appendfsync])
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("redis-server: {error}: install Redis 7.0 or later"),
            )
        })?;
        self.child = Some(child);
        self.wait_until_ready()
    }

    /// Sends one inline command and returns the first part of the answer, as it comes.
    ///
    /// # Errors
    /// When the server does not answer within a second.
    pub fn command(&self, line: &str) -> io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(line.as_bytes())?;
        stream.write_all(b"\r\n")?;
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned())
    }

    /// Every command that the server executes from now on, a line each.
    ///
    /// # Errors
    /// When the server cannot be reached. A read ends with an error after ten silent seconds.
    pub fn monitor(&self) -> io::Result<BufReader<TcpStream>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"MONITOR\r\n")?;
        let mut lines = BufReader::new(stream);
        let mut first = String::new();
        lines.read_line(&mut first)?;
        Ok(lines)
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            // `-LOADING` while it reads its file.
            if self
                .command("PING")
                .is_ok_and(|answer| answer.starts_with("+PONG"))
            {
                return Ok(());
            }
            let has_ended = match &mut self.child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if has_ended || Instant::now() >= deadline {
                let log =
                    std::fs::read_to_string(self.directory.join("redis.log")).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "redis-server did not start: {log}"
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
