//! What brokers hand to hosts and clients: ids, names, headers, manifests, outcomes. Any bytes are read or refused,
//! and what was read is written so that it reads back the same.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use celeriac_broker::{
    Admit, Digest, Header, HostInfo, InvocationId, LogRecord, Manifest, ModuleRef, Namespace,
    Options, OutcomeHead, Payload, Progress, TaskRef, UploadReport,
};
use serde::{Serialize, de::DeserializeOwned};

/// Reads as everything.
pub fn run(data: &[u8]) {
    same::<Header>(data);
    same::<Options>(data);
    same::<Admit>(data);
    same::<Namespace>(data);
    same::<UploadReport>(data);
    // These hold floats, which may change in their last bit.
    again::<Manifest>(data);
    again::<OutcomeHead>(data);
    again::<LogRecord>(data);
    again::<Progress>(data);
    again::<HostInfo>(data);
    let payload = Payload::bytes("application/json", data.to_vec());
    let _ = payload.parse::<serde_json::Value>();
    if let Ok(bytes) = data.try_into() {
        let id = InvocationId::from_bytes(bytes);
        assert_eq!(id.to_string().parse::<InvocationId>().expect("an id"), id);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    text_form::<InvocationId>(text);
    text_form::<TaskRef>(text);
    text_form::<ModuleRef>(text);
    text_form::<Digest>(text);
}

/// Reads JSON, writes it, and reads the same.
fn same<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        let text = serde_json::to_vec(&value).expect("what was read can be written");
        let again = serde_json::from_slice::<T>(&text).expect("what was written can be read");
        assert_eq!(value, again);
    }
}

/// Reads JSON, writes it, and reads it once more.
fn again<T: DeserializeOwned + Serialize>(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        let text = serde_json::to_vec(&value).expect("what was read can be written");
        serde_json::from_slice::<T>(&text).expect("what was written can be read");
    }
}

/// Reads text, shows it, and reads the same.
fn text_form<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let again = value.to_string().parse::<T>().ok();
        assert_eq!(again, Some(value), "from {text:?}");
    }
}
