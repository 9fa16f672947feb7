//! The attacks, one row each.

use std::time::Duration;

use celeriac_client::Code;

use crate::{
    attack::{
        Attack,
        Expected::{Ends, FindsNothing, Hits, Refused},
    },
    made,
};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const HALF: Duration = ms(500);
const MIB: u64 = 1 << 20;

/// All of them, in the order of the page.
pub(crate) fn attacks() -> Vec<Attack> {
    let groups = [
        time(),
        memory(),
        stack(),
        words(),
        boundary(),
        ends(),
        reach(),
        trusted(),
        descriptions(),
        uploads(),
    ];
    groups.into_iter().flatten().collect()
}

/// The report on a `describe` that does not end: a slow machine's is stopped by time, another's by fuel.
const ENDLESS: &str = "`describe` runs at upload, within a second and little memory";

/// Those that never end.
fn time() -> Vec<Attack> {
    vec![
        Attack::rust("spin", Hits(Code::Deadline, "timeout"))
            .timeout(HALF)
            .also_on_redis(),
        Attack::rust("spin", Hits(Code::OutOfFuel, "fuel"))
            .again("spin-fuel")
            .limit("fuel", 10_000_000),
        Attack::rust("spin", Hits(Code::Deadline, "timeout"))
            .again("spin-army")
            .timeout(ms(1_500))
            .copies(16)
            .also_on_redis(),
        Attack::rust("spin", Ends(Code::Cancelled))
            .again("spin-cancelled")
            .cancelled_after(ms(300)),
        Attack::wat("start-spin", Refused(ENDLESS)),
        Attack::wat("start-grow", Refused(ENDLESS)).growth_mib(192),
        Attack::wat("realloc-spin", Hits(Code::Deadline, "timeout")).timeout(HALF),
        Attack::wat("post-return-spin", Hits(Code::Deadline, "timeout")).timeout(HALF),
        Attack::wat("describe-spin", Refused(ENDLESS)),
        Attack::rust("sleep-for-ever", Hits(Code::Deadline, "timeout")).timeout(HALF),
        Attack::rust("sleep-for-ever", Ends(Code::Cancelled))
            .again("sleep-cancelled")
            .cancelled_after(ms(200)),
        Attack::rust("timer-overflow", Hits(Code::Deadline, "timeout")).timeout(HALF),
        Attack::rust("poll-busy", Hits(Code::Deadline, "timeout")).timeout(HALF),
        Attack::rust("poll-busy", Hits(Code::Deadline, "timeout"))
            .again("poll-busy-army")
            .timeout(ms(1_000))
            .copies(8),
        Attack::rust("poll-list", Hits(Code::Deadline, "timeout"))
            .timeout(HALF)
            .growth_mib(128),
        Attack::rust("host-calls", Hits(Code::OutOfFuel, "host_calls"))
            .limit("host_calls", 1_000_000)
            .within(ms(8_000)),
        Attack::rust("host-calls", Hits(Code::Deadline, "timeout"))
            .again("host-calls-army")
            .timeout(ms(1_000))
            .copies(8),
        Attack::rust("host-calls", Ends(Code::Cancelled))
            .again("host-calls-cancelled")
            .cancelled_after(ms(200)),
        Attack::rust("backtrace-flood", Hits(Code::Deadline, "timeout")).timeout(HALF),
        Attack::rust("memory-copy", Hits(Code::Deadline, "timeout"))
            .timeout(ms(1_000))
            .growth_mib(160),
        Attack::rust("memory-fill", Hits(Code::Deadline, "timeout"))
            .timeout(ms(1_000))
            .growth_mib(160),
        Attack::rust("memory-fill", Hits(Code::Deadline, "timeout"))
            .again("memory-fill-army")
            .timeout(ms(2_000))
            .copies(4)
            .growth_mib(4 * 160),
        Attack::wat("table-fill", Hits(Code::Deadline, "timeout")).timeout(HALF),
        Attack::wat("grow-refused", Hits(Code::OutOfFuel, "fuel")).limit("fuel", 10_000_000_000),
    ]
}

/// Those that want more memory than there is for them.
fn memory() -> Vec<Attack> {
    vec![
        Attack::rust("memory-bomb", Hits(Code::MemoryLimit, "memory_bytes")).growth_mib(160),
        Attack::rust("memory-bomb", Hits(Code::MemoryLimit, "memory_bytes"))
            .again("memory-bomb-army")
            .limit("memory_bytes", 32 * MIB)
            .copies(8)
            .growth_mib(8 * 40),
        Attack::wat("table-bomb", Hits(Code::MemoryLimit, "table_elements")),
        Attack::rust("handle-bomb", Hits(Code::MemoryLimit, "handles")),
        Attack::rust("stream-bomb", Hits(Code::MemoryLimit, "handles")),
        Attack::wat("resource-bomb", Hits(Code::MemoryLimit, "handles")),
    ]
}

/// Those that want more stack than there is.
fn stack() -> Vec<Attack> {
    vec![
        Attack::rust("recurse-guest", Ends(Code::StackOverflow)),
        Attack::wat("recurse-host", Ends(Code::StackOverflow)),
        Attack::wat("recurse-locals", Ends(Code::StackOverflow)),
    ]
}

/// Those that say too much.
fn words() -> Vec<Attack> {
    let calls = |name| {
        Attack::rust(name, Hits(Code::OutOfFuel, "host_calls"))
            .limit("host_calls", 200_000)
            .within(ms(6_000))
    };
    let waits = |name| Attack::rust(name, Hits(Code::Deadline, "timeout")).timeout(HALF);
    let fuel = |name| {
        Attack::rust(name, Hits(Code::OutOfFuel, "fuel"))
            .limit("fuel", 500_000_000)
            .within(ms(6_000))
    };
    vec![
        Attack::rust("output-flood", Hits(Code::OutputTooLarge, "output_bytes")).growth_mib(96),
        Attack::wat("result-huge", Hits(Code::OutputTooLarge, "output_bytes")).growth_mib(160),
        Attack::rust("output-nested", Ends(Code::TaskError)),
        Attack::rust("output-no-json", Ends(Code::TaskError)),
        Attack::rust("media-type-bomb", Ends(Code::TaskError)),
        Attack::rust("media-type-lines", Ends(Code::TaskError)),
        Attack::rust("failure-flood", Hits(Code::OutputTooLarge, "output_bytes")).growth_mib(96),
        Attack::rust("failure-forged", Ends(Code::TaskError)),
        Attack::wat("failure-delay", Ends(Code::TaskError)),
        calls("log-flood").also_on_redis(),
        calls("log-empty"),
        Attack::rust("log-huge", Hits(Code::OutputTooLarge, "output_bytes")).growth_mib(160),
        fuel("log-fields"),
        fuel("log-wide").also_on_redis(),
        calls("progress-flood").also_on_redis(),
        fuel("progress-notes"),
        Attack::rust("progress-nonsense", Ends(Code::Ok)).also_on_redis(),
        Attack::rust("emit-flood", Hits(Code::OutputTooLarge, "emit_bytes"))
            .within(ms(6_000))
            .growth_mib(128)
            .also_on_redis(),
        Attack::rust("emit-flood", Hits(Code::OutputTooLarge, "emit_bytes"))
            .again("emit-flood-army")
            .copies(12)
            .within(ms(20_000))
            .growth_mib(128),
        Attack::rust("emit-count", Hits(Code::OutputTooLarge, "emit_events"))
            .within(ms(6_000))
            .also_on_redis(),
        Attack::rust("emit-huge", Hits(Code::OutputTooLarge, "output_bytes")).growth_mib(160),
        waits("stdout-flood").also_on_redis(),
        waits("stdout-no-newline"),
        waits("stderr-bytes"),
        Attack::rust("zeroes-huge", Hits(Code::OutOfFuel, "fuel")),
        waits("zeroes-flood"),
        Attack::rust("random-flood", Hits(Code::OutOfFuel, "random_bytes")),
        Attack::rust("random-numbers", Hits(Code::OutOfFuel, "random_bytes")).within(ms(6_000)),
        Attack::rust("random-huge", Hits(Code::OutOfFuel, "random_bytes")),
    ]
}

/// Those that lie about numbers, pointers, lengths and texts.
fn boundary() -> Vec<Attack> {
    let trap = Ends(Code::Trap);
    vec![
        Attack::wat("realloc-beyond", trap),
        Attack::wat("realloc-end", trap),
        Attack::wat("realloc-calls", trap),
        Attack::wat("post-return-calls", trap),
        Attack::wat("result-lies", trap),
        Attack::wat("result-beyond", trap),
        Attack::wat("result-odd", trap),
        Attack::wat("result-null", Ends(Code::TaskError)),
        Attack::wat("result-variant", trap),
        Attack::wat("result-text", trap),
        Attack::wat("failure-text", trap),
        Attack::wat("failure-lies", trap),
        Attack::rust("text-log", trap),
        Attack::rust("pointer-log", trap),
        Attack::rust("pointer-emit", trap),
        Attack::rust("pointer-answer", trap),
        Attack::rust("variant-unknown", trap),
        Attack::rust("handle-forged", trap),
    ]
}

/// Those that end in a way that no task should.
fn ends() -> Vec<Attack> {
    vec![
        Attack::rust("panic", Ends(Code::Panicked)),
        Attack::rust("panic-twice", Ends(Code::Trap)),
        Attack::rust("panic-flood", Hits(Code::OutputTooLarge, "output_bytes")).growth_mib(256),
        Attack::rust("panic-cry", Ends(Code::Ok)).within(ms(8_000)),
        Attack::rust("exit-0", Ends(Code::Trap)),
        Attack::rust("exit-1", Ends(Code::Trap)),
        Attack::rust("abort", Ends(Code::Trap)),
        Attack::made(
            "names-cpp",
            "Traps in a function whose C++ name, once readable, is 2^60 bytes long.",
            made::names_cpp,
            Ends(Code::Trap),
        ),
        Attack::made(
            "names-rust",
            "Traps in a function whose Rust name, once readable, is 2^60 bytes long.",
            made::names_rust,
            Ends(Code::Trap),
        ),
        Attack::made(
            "names-long",
            "Traps under functions with names of ninety kilobytes.",
            made::names_long,
            Ends(Code::Trap),
        ),
    ]
}

/// Those that reach for what is not theirs. Nothing is granted to them.
fn reach() -> Vec<Attack> {
    vec![
        Attack::rust("files", FindsNothing),
        Attack::rust("secrets", FindsNothing),
        Attack::rust("secrets-flood", Hits(Code::OutOfFuel, "host_calls"))
            .limit("host_calls", 50_000)
            .within(ms(6_000)),
        Attack::wat(
            "import-unknown",
            Refused("hosts do not have this interface"),
        ),
        Attack::wat(
            "import-threads",
            Refused("hosts do not have this interface"),
        ),
        Attack::wat("import-type", Refused("the imports")),
        Attack::wat("import-surplus", Refused("the imports")),
    ]
}

/// One server is granted, on an address that stands for a public one.
const SERVER: &str = "http = [{ hosts = [\"127.0.0.2\"], schemes = [\"http\"], ports = [$PORT], networks = [\"127.0.0.2/32\"] }]
config = { PORT = \"$PORT\" }";
/// All that is public is granted, and nothing else.
const PUBLIC: &str = "http = [{ hosts = [\"*\"], schemes = [\"http\"], ports = [$PORT] }]
tcp = [\"*:$PORT\"]
config = { PORT = \"$PORT\" }";
/// A name is granted, and the address that it has at first.
const NAME: &str = "http = [{ hosts = [\"*.rebind.test\"], schemes = [\"http\"], ports = [$PORT], networks = [\"127.0.0.2/32\"] }]
tcp = [{ host = \"*.rebind.test\", port = $PORT, networks = [\"127.0.0.2/32\"] }]
config = { PORT = \"$PORT\" }";
const DIRECTORIES: &str = "directories = { work = { path = \"$DIR/work\", access = \"write\" }, documents = { path = \"$DIR/documents\" } }
scratch = true";
const WORK: &str = "directories = { work = { path = \"$DIR/work\", access = \"write\" } }";
/// What `SECRETS` grants.
const WORD: &str = "open sesame, said he";

/// A grant of the secret, and the way to tell it at the end.
macro_rules! secrets {
    ($way:literal) => {
        concat!(
            "secrets = { word = { file = \"$DIR/word\" } }\nconfig = { WAY = \"",
            $way,
            "\" }"
        )
    };
}

/// Those that were granted something, and reach for more.
fn trusted() -> Vec<Attack> {
    let told = |name, grant, expected| {
        Attack::rust("secrets-told", expected)
            .again(name)
            .granted(grant)
            .hides(WORD)
    };
    vec![
        Attack::rust("http-private", FindsNothing).granted(PUBLIC),
        Attack::rust("http-private", FindsNothing).again("http-ungranted"),
        Attack::rust("http-rebind", FindsNothing).granted(NAME),
        Attack::rust("http-redirect", FindsNothing).granted(SERVER),
        Attack::rust("http-slow", FindsNothing)
            .granted(SERVER)
            .limit("http_timeout", 400)
            .limit("http_first_byte_timeout", 400)
            .within(ms(3_000)),
        Attack::rust("http-slow", Hits(Code::Deadline, "timeout"))
            .again("http-slow-army")
            .granted(SERVER)
            .timeout(ms(1_000))
            .copies(16),
        Attack::rust("http-endless", FindsNothing)
            .granted(SERVER)
            .within(ms(6_000))
            .growth_mib(128),
        Attack::rust("http-hoard", Hits(Code::Deadline, "timeout"))
            .granted(SERVER)
            .timeout(ms(1_000))
            .copies(8)
            .growth_mib(96),
        Attack::rust("kv-others", FindsNothing)
            .granted("kv = true")
            .also_on_redis(),
        Attack::rust("files-granted", FindsNothing).granted(DIRECTORIES),
        Attack::rust("files-race", FindsNothing)
            .granted(WORK)
            .copies(4)
            .within(ms(10_000)),
        told("secrets-told", secrets!(""), FindsNothing),
        told("secrets-output", secrets!("output"), Ends(Code::Ok)),
        told(
            "secrets-failure",
            secrets!("failure"),
            Ends(Code::TaskError),
        )
        .also_on_redis(),
        told("secrets-panic", secrets!("panic"), Ends(Code::Panicked)),
    ]
}

/// Those that lie about themselves.
fn descriptions() -> Vec<Attack> {
    vec![
        Attack::wat("describe-trap", Refused("`describe` ended with trap")),
        Attack::wat(
            "describe-million",
            Refused("`describe` ended with output_too_large"),
        )
        .growth_mib(160),
        Attack::wat("describe-beyond", Refused("`describe` ended with trap")),
        Attack::wat(
            "describe-needs",
            Refused("there is no need of the kind `root`"),
        ),
        Attack::wat("describe-odd", Refused("`describe` ended with trap")),
        Attack::wat("describe-null", Refused("the name is not valid")),
        Attack::wat(
            "describe-schema",
            Refused("the input schema has 6291456 bytes"),
        ),
        Attack::wat("describe-nested", Refused("the input schema is not JSON")),
        Attack::wat("describe-twice", Refused("two tasks have this name")),
        Attack::wat("describe-path", Refused("the name is not valid")),
        Attack::wat("describe-text", Refused("`describe` ended with trap")),
        Attack::wat("describe-options", Refused("the option `timeout` is NaN")),
    ]
}

/// Those that attack whoever checks and compiles them.
fn uploads() -> Vec<Attack> {
    let compiling = Duration::from_secs(21);
    vec![
        Attack::wat("memory-minimum", Refused("minimum byte size")),
        Attack::wat("memory-above-limit", Refused("memory_limit")),
        Attack::wat("memory-64", Refused("not valid")),
        Attack::wat("memory-shared", Refused("not valid")),
        Attack::wat("table-huge", Refused("minimum element size")),
        Attack::wat("exceptions", Refused("not valid")),
        Attack::made("memories", "Instantiates fifty memories.", made::memories, Refused("linear memories")),
        Attack::made("instances", "Instantiates nine hundred core modules.", made::instances, Refused("instances")),
        Attack::made("upload-huge", "Uploads one byte more than a module may have.", made::upload_huge, Refused("33554433 bytes and the limit is 33554432"))
            .growth_mib(96),
        Attack::made("functions", "Has ten thousand functions.", made::functions, Ends(Code::Ok)).within(compiling),
        Attack::made("functions-million", "Has a million functions.", made::functions_million, Refused("are allowed")).growth_mib(256),
        Attack::made("functions-endless", "Has more functions than could be compiled in time.", made::functions_endless, Refused("are allowed"))
            .within(compiling)
            .growth_mib(512),
        Attack::made("locals", "Has a function with a million locals.", made::locals, Refused("too many locals")),
        Attack::made("parameters", "Has a function with a hundred thousand parameters.", made::parameters, Refused("not valid")),
        Attack::made("jump-table", "Has a jump table with a million targets.", made::jump_table, Refused("br_table")).within(compiling),
        Attack::made("blocks-deep", "Nests blocks five thousand deep.", made::blocks_deep, Ends(Code::Ok)).within(compiling),
        Attack::made(
            "compile-explosion",
            "Has functions in which thousands of variables meet thousands of branches.",
            made::compile_explosion,
            Refused("takes more"),
        )
        .within(compiling),
        Attack::made("data-huge", "Has twenty megabytes of data.", made::data_huge, Ends(Code::Ok)).within(compiling).growth_mib(256),
        Attack::made("data-segments", "Has a hundred thousand pieces of data.", made::data_segments, Refused("not valid")),
        Attack::made(
            "image-bomb",
            "Has two bytes of data sixty megabytes apart, eight times, so that their images fill half a gigabyte.",
            made::image_bomb,
            Refused("takes more"),
        )
        .within(compiling)
        .growth_mib(400),
        Attack::made("nested", "Nests components ten thousand deep.", made::nested, Refused("are allowed")).within(compiling),
        Attack::made("types-deep", "Nests types two thousand deep.", made::types_deep, Refused("not valid")),
        Attack::made("types-wide", "Has types of 10^20 bytes when written out.", made::types_wide, Refused("not valid")),
        Attack::made("types-names", "Has three million names that a validator has to remember.", made::types_names, Refused("the types have"))
            .growth_mib(256),
        Attack::made("core-types", "Has three hundred thousand types of functions.", made::core_types, Refused("are allowed")).growth_mib(256),
        Attack::made("imports", "Imports nine hundred interfaces, to be told about each.", made::imports, Refused("import `acme:"))
            .growth_mib(256),
        Attack::made("exports", "Exports five thousand functions, to be told about each.", made::exports, Refused("not part of the contract"))
            .growth_mib(256),
    ]
}
