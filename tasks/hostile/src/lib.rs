//! What the attacks share: the host's functions without the SDK's manners around them.

use celeriac_guest::Payload;

/// A result that claims to be JSON, whatever it is.
#[must_use]
pub fn answer_json(text: &str) -> Payload {
    Payload::Json(text.to_owned())
}

/// The port of the servers that the arena has for attacks.
#[must_use]
pub fn port() -> u16 {
    std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok())
        .unwrap_or(80)
}

/// What an address answers.
///
/// # Errors
/// Why there is no answer.
pub fn answer(url: &str) -> Result<String, celeriac_guest::http::HttpError> {
    celeriac_guest::http::get(url).map(|answer| answer.text())
}

/// The imports of the contract as the canonical ABI has them: numbers, which may say anything.
pub mod raw {
    #[link(wasm_import_module = "celeriac:task/context@1.0.0")]
    unsafe extern "C" {
        /// `is-cancelled`.
        #[link_name = "is-cancelled"]
        pub fn is_cancelled() -> i32;
        /// `log`: level, message, fields.
        #[link_name = "log"]
        pub fn log(
            level: i32,
            message: *const u8,
            length: usize,
            fields: *const u8,
            fields_length: usize,
        );
        /// `progress`: done, total, note.
        #[link_name = "progress"]
        pub fn progress(done: f64, total: f64, note: *const u8, length: usize);
        /// `emit`: kind, then the text, or media type and bytes.
        #[link_name = "emit"]
        pub fn emit(
            kind: i32,
            first: *const u8,
            length: usize,
            second: *const u8,
            second_length: usize,
        );
        /// `panicked`.
        #[link_name = "panicked"]
        pub fn panicked(message: *const u8, length: usize);
        /// `backtrace`: pointer and length of the text are written to `answer`.
        #[link_name = "backtrace"]
        pub fn backtrace(answer: *mut usize);
        /// `secret`: 0 and the text, or 1, the kind of the error and its text, are written to `answer`.
        #[link_name = "secret"]
        pub fn secret(name: *const u8, length: usize, answer: *mut usize);
    }

    /// Logs at level info.
    pub fn log_text(message: &str, fields: &str) {
        // SAFETY: both texts are there.
        unsafe {
            log(
                2,
                message.as_ptr(),
                message.len(),
                fields.as_ptr(),
                fields.len(),
            )
        }
    }

    /// Reports progress.
    pub fn progress_text(done: f64, total: f64, note: &str) {
        // SAFETY: the text is there.
        unsafe { progress(done, total, note.as_ptr(), note.len()) }
    }

    /// Delivers a partial result that claims to be JSON.
    pub fn emit_text(text: &str) {
        // SAFETY: the text is there.
        unsafe { emit(0, text.as_ptr(), text.len(), std::ptr::null(), 0) }
    }

    /// Says that it panics.
    pub fn panicked_text(text: &str) {
        // SAFETY: the text is there.
        unsafe { panicked(text.as_ptr(), text.len()) }
    }

    /// Asks for a secret.
    ///
    /// # Errors
    /// What the host says, as it should for all that is not granted.
    pub fn secret_text(name: &str) -> Result<String, String> {
        let mut answer = [0_usize; 4];
        // SAFETY: the name is there, and the host writes four words at most: success or not, then the text, or the
        // kind of the error and its text. Texts come from this module's own allocator, with exactly that capacity.
        unsafe {
            secret(name.as_ptr(), name.len(), answer.as_mut_ptr());
            let [is_error, first, second, third] = answer;
            let text = |start: usize, length: usize| {
                String::from_raw_parts(start as *mut u8, length, length)
            };
            if is_error & 0xff == 0 {
                Ok(text(first, second))
            } else {
                Err(text(second, third))
            }
        }
    }
}
