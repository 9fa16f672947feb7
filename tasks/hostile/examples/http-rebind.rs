//! Asks a host again and again whose name leads to a granted address and to the host's own machine in turn.

use std::io::Read;
use std::net::TcpStream;

use celeriac_guest::task;
use hostile::{answer, port};

/// The attack.
#[task(needs(http = "*", tcp = "*", config = "PORT"))]
pub fn attack() -> Vec<String> {
    let (mut found, mut granted) = (Vec::new(), 0);
    for n in 0..40 {
        let host = format!("a{}.rebind.test", n % 3);
        match answer(&format!("http://{host}:{}/open", port())) {
            Ok(body) if body == "open" => granted += 1,
            Ok(body) => found.push(format!("{host} answered {body}")),
            Err(_) => {}
        }
        // What lets nothing through but the granted address closes at once, or never says a word.
        if n % 10 == 0
            && let Ok(mut stream) = TcpStream::connect((host.as_str(), port()))
        {
            let mut word = [0; 8];
            let _ = std::io::Write::write_all(&mut stream, b"GET /open HTTP/1.1\r\n\r\n");
            let mut told = Vec::new();
            while let Ok(bytes @ 1..) = stream.read(&mut word) {
                told.extend_from_slice(&word[..bytes]);
                if told.ends_with(b"treasure") {
                    found.push(format!("{host} gave its treasure"));
                    break;
                }
                if told.ends_with(b"open") {
                    break;
                }
            }
        }
    }
    if granted == 0 {
        found.push("the granted address was never reached: this proves nothing".to_owned());
    }
    found
}
