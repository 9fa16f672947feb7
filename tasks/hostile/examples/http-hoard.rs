//! Opens as many endless answers as it may, and reads none of them.

use celeriac_guest::task;
use hostile::port;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};

/// The attack.
#[task(needs(http = "*", config = "PORT"))]
pub fn attack() {
    let mut kept = Vec::new();
    loop {
        let request = OutgoingRequest::new(Fields::new());
        let _ = request.set_scheme(Some(&Scheme::Http));
        let _ = request.set_authority(Some(&format!("127.0.0.2:{}", port())));
        let _ = request.set_path_with_query(Some("/endless"));
        match handle(request, None) {
            Ok(pending) if kept.len() < 64 => {
                pending.subscribe().block();
                if let Some(Ok(Ok(answer))) = pending.get() {
                    kept.push((answer.consume(), answer));
                }
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    }
}
