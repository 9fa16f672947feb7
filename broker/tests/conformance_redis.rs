//! The conformance suite over Redis.

#![allow(
    clippy::unwrap_used,
    reason = "cases are tests: they end at the first surprise"
)]

#[macro_use]
mod conformance;

use async_trait::async_trait;
use celeriac_broker::{
    ClientId,
    redis::{RedisBroker, RedisOptions},
    testing::{AofMode, RedisServer},
};
use conformance::kit::{Handle, Settings, Store};

/// A server of its own for each case.
struct Redis {
    server: RedisServer,
    options: RedisOptions,
}

#[async_trait]
impl Store for Redis {
    async fn open(&self) -> Handle {
        RedisBroker::connect(&self.server.url(), self.options.clone())
            .await
            .unwrap()
    }

    async fn kept_for(&self, client: &ClientId) -> usize {
        let answer = self
            .server
            .command(&format!("EXISTS cel:{{0}}:reply:{client}"))
            .unwrap();
        answer.trim().trim_start_matches(':').parse().unwrap()
    }

    async fn keys_held(&self) -> usize {
        let count = |pattern: &str| {
            let script = format!("EVAL \"return #redis.call('KEYS','cel:{{0}}:{pattern}:*')\" 0");
            let answer = self.server.command(&script).unwrap();
            let count = answer.trim().trim_start_matches(':');
            count.parse::<usize>().unwrap()
        };
        count("idem") + count("unique")
    }

    async fn ordered(&self) -> usize {
        let count = "EVAL \"local n = redis.call('HLEN', 'cel:{0}:aside') + redis.call('HLEN', 'cel:{0}:turns') \
            for _, key in ipairs(redis.call('KEYS', 'cel:{0}:q:*')) do n = n + redis.call('LLEN', key) end \
            return n + #redis.call('KEYS', 'cel:{0}:special:*')\" 0";
        let answer = self.server.command(count).unwrap();
        answer.trim().trim_start_matches(':').parse().unwrap()
    }

    async fn timed(&self) -> usize {
        let answer = self.server.command("ZCARD cel:{0}:due").unwrap();
        answer.trim().trim_start_matches(':').parse().unwrap()
    }
}

async fn fresh(settings: Settings) -> Box<dyn Store> {
    let server = tokio::task::spawn_blocking(|| RedisServer::start(AofMode::Off))
        .await
        .unwrap()
        .unwrap();
    let options = RedisOptions {
        caps: settings.caps,
        ageing: settings.ageing,
        ..RedisOptions::default()
    };
    Box::new(Redis { server, options })
}

suite!(crate::fresh);
