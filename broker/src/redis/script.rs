//! The Lua scripts: each moves invocations from state to state, atomically.

use std::sync::LazyLock;

use ::redis::{Cmd, ToRedisArgs, cmd};

use crate::simulation;

/// The keys of partition 0; more partitions would be more prefixes.
pub(super) const PREFIX: &str = "cel:{0}:";

/// A script with the hash that the server knows it by.
#[derive(Debug)]
pub(super) struct Script {
    name: &'static str,
    script: ::redis::Script,
    source: String,
}

macro_rules! scripts {
    ($($name:ident = [$($file:literal),+];)+) => {$(
        #[doc = concat!("See ", $("`scripts/", $file, "` "),+)]
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(stringify!($name), &[$(include_str!(concat!("scripts/", $file))),+]));
    )+
        /// All of them.
        #[cfg(test)]
        const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

scripts! {
    SUBMIT = ["submit_head.lua", "place.lua", "rest_open.lua", "dead.lua", "due.lua", "ended.lua", "finish.lua", "follow.lua",
              "join.lua", "once.lua", "defaults.lua", "submit_rest.lua", "submit.lua"];
    RESERVE = ["reserve_head.lua", "rest_open.lua", "dead.lua", "due.lua", "place.lua", "limits.lua", "ended.lua", "finish.lua",
               "follow.lua", "reserve_bands.lua", "reserve.lua"];
    SETTLE = ["settle_head.lua", "rest_open.lua", "dead.lua", "due.lua", "place.lua", "limits.lua", "ended.lua", "finish.lua",
              "follow.lua", "settle_rest.lua", "settle.lua"];
    TICK = ["release_head.lua", "dead.lua", "due.lua", "place.lua", "limits.lua", "ended.lua", "finish.lua", "follow.lua", "tick.lua"];
    RELEASE = ["release_head.lua", "dead.lua", "due.lua", "place.lua", "limits.lua", "ended.lua", "finish.lua", "follow.lua", "release.lua"];
    RENEW = ["renew.lua"];
    CANCEL = ["release_head.lua", "dead.lua", "due.lua", "place.lua", "ended.lua", "finish.lua", "follow.lua", "cancel.lua"];
    OUTCOMES = ["outcomes.lua"];
    RECORD = ["record.lua"];
    PUBLISH = ["publish.lua"];
    REMOVE = ["remove.lua"];
    ANNOUNCE = ["announce.lua"];
    RUNNING = ["running.lua"];
    QUEUE = ["queue.lua"];
    PAUSE = ["prefix.lua", "limiting.lua", "pause.lua"];
    RESUME = ["prefix.lua", "place.lua", "limits.lua", "limiting.lua", "resume.lua"];
    MOVE = ["prefix.lua", "due.lua", "place.lua", "limits.lua", "move.lua"];
    FORGET = ["forget.lua"];
    LIMIT = ["prefix.lua", "place.lua", "limits.lua", "limiting.lua", "limit.lua"];
    GO_ON = ["prefix.lua", "place.lua", "limits.lua", "go_on.lua"];
    SCHEDULES = ["schedules.lua"];
    SCHEDULE_PUT = ["schedule_put.lua"];
    SCHEDULE_CHANGE = ["schedule_change.lua"];
    FIRE = ["submit_head.lua", "place.lua", "rest_open.lua", "dead.lua", "due.lua", "ended.lua", "finish.lua", "follow.lua",
            "join.lua", "once.lua", "defaults.lua", "submit_rest.lua", "fire_open.lua", "submit.lua", "fire.lua"];
    LIST = ["list.lua"];
    DEAD_LIST = ["dead_list.lua"];
    DEAD_CLAIM = ["dead_claim.lua"];
    DEAD_DROP = ["dead_head.lua", "dead.lua", "dead_drop.lua"];
    KV_GET = ["kv_get.lua"];
    KV_SET = ["kv_head.lua", "kv_set.lua"];
    KV_DELETE = ["kv_head.lua", "kv_delete.lua"];
    KV_INCREMENT = ["kv_head.lua", "kv_increment.lua"];
    KV_COMPARE = ["kv_head.lua", "kv_compare.lua"];
    KV_LIST = ["kv_head.lua", "kv_list.lua"];
    KV_STATS = ["kv_head.lua", "kv_stats.lua"];
    KV_CLEAR = ["kv_clear.lua"];
}

impl Script {
    fn new(name: &'static str, parts: &[&str]) -> Self {
        let mut source = parts.concat();
        if simulation::is_simulated() {
            source.insert_str(0, simulation::SHIM);
        }
        Self {
            name,
            script: ::redis::Script::new(&source),
            source,
        }
    }

    /// A call with room for `args` arguments of `bytes` in all.
    pub(super) fn call(&'static self, args: usize, bytes: usize) -> Call {
        let mut arguments = Cmd::with_capacity(args + 4, bytes + 64);
        arguments
            .arg("EVALSHA")
            .arg(self.script.get_hash())
            .arg(1)
            .arg(PREFIX);
        Call {
            script: self,
            cmd: arguments,
        }
    }
}

/// A script with its arguments.
pub(super) struct Call {
    script: &'static Script,
    cmd: Cmd,
}

impl Call {
    /// Adds an argument.
    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.cmd.arg(argument);
        self
    }

    /// The script's name, for errors.
    pub(super) fn name(&self) -> &'static str {
        self.script.name
    }

    /// The command that names the script by its hash.
    pub(super) fn command(&self) -> &Cmd {
        &self.cmd
    }

    /// The command that carries the script's source, which also makes the server know it.
    pub(super) fn command_with_source(&self) -> Cmd {
        let mut with_source = cmd("EVAL");
        with_source.arg(&self.script.source);
        for argument in self.cmd.args_iter().skip(2) {
            if let ::redis::Arg::Simple(bytes) = argument {
                with_source.arg(bytes);
            }
        }
        with_source
    }
}

#[cfg(test)]
mod tests {
    use super::NAMES;

    #[test]
    fn every_script_is_documented() {
        let page = include_str!("../../../docs/protocol.md");
        for name in NAMES {
            let row = format!("`{}`", name.to_lowercase());
            assert!(page.contains(&row), "docs/protocol.md does not name {row}");
        }
    }
}
