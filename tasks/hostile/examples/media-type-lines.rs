//! Returns a media type with line breaks, to smuggle headers into a response.

use celeriac_guest::Bytes;
use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() -> Bytes {
    Bytes::new("text/plain\r\nset-cookie: a=b\r\n\r\n<script>", vec![0])
}
