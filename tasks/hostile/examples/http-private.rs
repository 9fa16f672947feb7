//! Asks for what is not public, in every spelling of an address, over HTTP and plain TCP, though any host is granted to
//! it.

use std::net::TcpStream;

use celeriac_guest::task;
use hostile::{answer, port};

const HOSTS: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "0",
    "localhost",
    "LOCALHOST.",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "example.com@127.0.0.1",
    "127.0.0.1#example.com",
    "\u{ff11}27.0.0.1",
];

/// The attack.
#[task(needs(http = "*", tcp = "*", config = "PORT"))]
pub fn attack() -> Vec<String> {
    let mut found = Vec::new();
    for host in HOSTS {
        for url in [
            format!("http://{host}:{}/", port()),
            format!("http://{host}:{}/open", port()),
        ] {
            if let Ok(answer) = answer(&url) {
                found.push(format!("{url} answered {answer}"));
            }
        }
        let bare = host.trim_matches(['[', ']']);
        if TcpStream::connect((bare, port())).is_ok() {
            found.push(format!("connected to {host}"));
        }
    }
    found
}
