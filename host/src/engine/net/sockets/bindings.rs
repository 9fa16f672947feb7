//! What `bindgen!` makes of `wasi:sockets`, with resources of our own.

#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    clippy::all,
    reason = "generated code"
)]

wasmtime::component::bindgen!({
    path: "wit",
    world: "celeriac:host/sockets",
    imports: { default: trappable },
    with: {
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
        "wasi:sockets/network.network": super::Network,
        "wasi:sockets/ip-name-lookup.resolve-address-stream": super::lookup::Lookup,
        "wasi:sockets/tcp.tcp-socket": super::tcp::TcpSocket,
        "wasi:sockets/udp.udp-socket": super::udp::Nothing,
        "wasi:sockets/udp.incoming-datagram-stream": super::udp::Nothing,
        "wasi:sockets/udp.outgoing-datagram-stream": super::udp::Nothing,
    },
    require_store_data_send: true,
});
