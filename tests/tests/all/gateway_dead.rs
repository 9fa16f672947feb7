//! Dead letters over HTTP, at a real host, on both engines.

use anyhow::{Context, Result};
use celeriac::gateway::tokens::Scope;
use celeriac_broker::testing::AofMode;
use celeriac_tests::{Stage, http::Http};
use serde_json::{Value, json};

use super::{
    gateway::{host, token},
    gateway_schedules::served,
};

/// Submits what fails for good, and waits for that; its id.
async fn fail(http: &Http, body: Value, code: &str) -> Result<String> {
    let ended = http.post("/v1/invocations?wait=30", &body).await?.json()?;
    assert_eq!(ended["code"], code, "{ended}");
    Ok(ended["id"].as_str().context("no id")?.to_owned())
}

fn panics(message: &str) -> Value {
    json!({"task": "basics/panic", "input": {"message": message}})
}

/// Sleeps longer than it may.
fn sleeps() -> Value {
    json!({"task": "basics/sleep", "input": {"seconds": 60}, "options": {"timeout_ms": 50, "retries": 0}})
}

fn ids(page: &Value) -> Vec<&str> {
    let letters = page["letters"].as_array();
    let ids = letters.map(|letters| letters.iter().filter_map(|one| one["id"].as_str()));
    ids.map(Iterator::collect).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_found_and_shown_on_both_engines() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        let first = fail(&http, panics("first"), "panicked").await?;
        let second = fail(&http, panics("second"), "panicked").await?;
        let slow = fail(&http, sleeps(), "deadline").await?;
        let fine = http
            .post("/v1/invocations?wait=30", &json!({"task": "basics/noop"}))
            .await?
            .json()?;

        let get = async |query: &str| http.get(&format!("/v1/dead-letters{query}")).await?.json();
        let all = get("").await?;
        assert_eq!(ids(&all), [&slow, &second, &first], "newest first");
        assert_eq!(ids(&get("?task=basics/panic").await?), [&second, &first]);
        assert_eq!(ids(&get("?codes=deadline,trap").await?), [&slow]);
        assert!(ids(&get("?queue=other").await?).is_empty());
        let died = all["letters"][0]["died_at_ms"]
            .as_u64()
            .context("no time")?;
        assert_eq!(ids(&get(&format!("?since_ms={died}")).await?)[0], slow);
        let before = get(&format!("?until_ms={died}")).await?;
        assert!(!ids(&before).contains(&slow.as_str()));
        let page = get("?limit=2").await?;
        assert_eq!(ids(&page), [&slow, &second]);
        let cursor = page["cursor"].as_str().context("no cursor")?;
        let rest = get(&format!("?limit=2&cursor={cursor}")).await?;
        assert_eq!(
            (ids(&rest), rest.get("cursor")),
            (vec![first.as_str()], None)
        );

        let letter = get(&format!("/{second}")).await?;
        assert_eq!(
            (&letter["id"], &letter["input"], &letter["content_type"]),
            (
                &json!(second),
                &json!({"message": "second"}),
                &json!("application/json")
            )
        );
        let outcome = &letter["outcome"];
        assert_eq!(
            (&outcome["code"], &letter["state"]),
            (&json!("panicked"), &json!("failed"))
        );
        let message = outcome["failure"]["message"]
            .as_str()
            .context("no failure")?;
        assert!(message.contains("second"), "{message}");
        assert_eq!(get(&format!("/{slow}")).await?["options"]["timeout_ms"], 50);

        for (query, code) in [
            ("?codes=none_such", "invalid"),
            ("?queue=NO", "invalid"),
            ("?cursor=x", "invalid"),
            ("?limit=0", "malformed"),
            ("?task=%20", "malformed"),
            (
                &format!("/{}", fine["id"].as_str().context("id")?),
                "no_dead_letter",
            ),
            ("/01a1ff68-fe25-71bb-bb84-ddd9d8007967", "no_dead_letter"),
        ] {
            assert_eq!(get(query).await?["code"], code, "{query}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_retried_as_it_was_or_mended_on_both_engines() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        let slow = fail(&http, sleeps(), "deadline").await?;
        let path = format!("/v1/dead-letters/{slow}");
        let retry = async |query: &str, body: Value| {
            http.post(&format!("{path}/retry{query}"), &body).await
        };
        // What does not fit is refused, and the letter stays.
        let wrong = retry("", json!({"input": {"seconds": "long"}})).await?;
        assert_eq!(
            (wrong.status, &wrong.json()?["errors"][0]["pointer"]),
            (422, &json!("/input/seconds"))
        );
        let both = json!({"input": {}, "input_base64": "AP8Q"});
        assert_eq!(retry("", both).await?.status, 422);
        let misspelt = retry("", json!({"newest": true})).await?;
        assert_eq!(misspelt.json()?["errors"][0]["pointer"], "/newest");
        assert_eq!(http.get(&path).await?.status, 200);

        let mended = json!({"input": {"seconds": 0}, "latest": true});
        let ended = retry("?wait=30", mended).await?.json()?;
        assert_eq!(ended["code"], "ok", "{ended}");
        let status = http
            .get(&format!(
                "/v1/invocations/{}",
                ended["id"].as_str().context("id")?
            ))
            .await?
            .json()?;
        assert_eq!(status["retry_of"], json!(slow));
        let again = http
            .send("POST", &format!("{path}/retry"), &[], b"")
            .await?;
        assert_eq!(
            (again.status, &again.json()?["code"]),
            (404, &json!("no_dead_letter")),
            "it has given its place away"
        );

        // With an id it is found again, although the letter is gone.
        let letter = fail(&http, panics("named"), "panicked").await?;
        let path = format!("/v1/dead-letters/{letter}/retry");
        let named = stage.client.broker().namespace().issue(0);
        let body = json!({"id": named, "input": {"message": "still"}});
        let first = http.post(&format!("{path}?wait=30"), &body).await?.json()?;
        assert_eq!(
            (&first["id"], &first["code"]),
            (&json!(named), &json!("panicked"))
        );
        let again = http.post(&format!("{path}?wait=30"), &body).await?;
        assert_eq!((again.status, again.json()?), (200, first));
        let other = fail(&http, panics("other"), "panicked").await?;
        let other = format!("/v1/dead-letters/{other}");
        let taken = http.post(&format!("{other}/retry"), &body).await?;
        assert_eq!(
            (taken.status, &taken.json()?["errors"][0]["pointer"]),
            (422, &json!("/id")),
            "it is the retry of another letter"
        );
        let foreign = json!({"id": "01a1ff68-fe25-71bb-bb84-ddd9d8007967"});
        let foreign = http.post(&format!("{other}/retry"), &foreign).await?;
        assert_eq!(foreign.json()?["code"], "not_found");
        for letter in [other, format!("/v1/dead-letters/{named}")] {
            let dropped = http.send("DELETE", &letter, &[], b"").await?;
            assert_eq!(dropped.status, 204, "{letter}");
        }

        // Without a body: with its own input. It fails again and is a letter of its own.
        let panicked = fail(&http, panics("again"), "panicked").await?;
        let path = format!("/v1/dead-letters/{panicked}/retry");
        let stored = http.send("POST", &path, &[], b"").await?;
        assert_eq!(stored.status, 202, "{:?}", stored.json());
        let location = stored.header("location").context("no location")?;
        let ended = http
            .get(&format!("{location}/result?wait=30"))
            .await?
            .json()?;
        assert_eq!(ended["code"], "panicked");
        let left = http.get("/v1/dead-letters").await?.json()?;
        let successor = ended["id"].as_str().context("id")?;
        assert_eq!(ids(&left), [successor]);
        let path = format!("/v1/dead-letters/{successor}");
        assert_eq!(http.send("DELETE", &path, &[], b"").await?.status, 204);
        assert_eq!(http.send("DELETE", &path, &[], b"").await?.status, 404);
        assert_eq!(
            http.get("/v1/dead-letters").await?.json()?,
            json!({"letters": []})
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_filter_asks_for_are_retried_a_page_at_a_time() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        for n in 0..5 {
            fail(&http, panics(&n.to_string()), "panicked").await?;
        }
        let slow = fail(&http, sleeps(), "deadline").await?;
        // Where they go to waits, so that what is retried does not come back while it is counted.
        let pause = http
            .send("POST", "/v1/queues/default/pause", &[], b"")
            .await?;
        assert_eq!(pause.status, 200);
        let mut body =
            json!({"filter": {"task": "basics/panic", "codes": ["panicked"]}, "limit": 2});
        let (mut done, mut requests) = (0, 0);
        loop {
            let answer = http.post("/v1/dead-letters/retry", &body).await?;
            assert_eq!(answer.status, 200, "{:?}", answer.json());
            let answer = answer.json()?;
            assert_eq!(answer["refused"], 0, "{answer}");
            assert!(
                answer["matched"]
                    .as_u64()
                    .is_some_and(|matched| matched <= 2)
            );
            done += answer["done"].as_u64().context("no count")?;
            requests += 1;
            match answer.get("cursor") {
                Some(cursor) => body["cursor"] = cursor.clone(),
                None => break,
            }
        }
        assert!(done == 5 && requests >= 3, "{done} by {requests}");
        assert_eq!(ids(&http.get("/v1/dead-letters").await?.json()?), [&slow]);
        for (body, pointer) in [
            (json!({"filter": {}}), "/filter"),
            (json!({}), ""),
            (json!({"filter": {"code": "x"}}), "/filter/code"),
            (json!({"filter": {"since_ms": 0}, "limit": 0}), "/limit"),
            (json!({"filter": {"since_ms": 0}, "limit": 501}), "/limit"),
        ] {
            let problem = http.post("/v1/dead-letters/retry", &body).await?.json()?;
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_submits_retries_one_and_admins_retry_many_and_drop() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = host(&stage, &["--set", "http.tokens=always"]).await?;
    stage.push(&["basics"]).await?;
    let as_scope =
        async |scope| anyhow::Ok(http.clone().with_token(token(&stage, &[scope]).await?));
    let (read, submit) = (as_scope(Scope::Read).await?, as_scope(Scope::Submit).await?);
    let admin = as_scope(Scope::Admin).await?;
    let id = fail(&admin, panics("x"), "panicked").await?;
    let path = format!("/v1/dead-letters/{id}");
    let many = json!({"filter": {"since_ms": 0}});
    for (client, gets, retries) in [(&read, 200, 403), (&submit, 403, 202)] {
        assert_eq!(client.get("/v1/dead-letters").await?.status, gets);
        assert_eq!(client.get(&path).await?.status, gets);
        assert_eq!(client.send("DELETE", &path, &[], b"").await?.status, 403);
        assert_eq!(
            client.post("/v1/dead-letters/retry", &many).await?.status,
            403
        );
        let retry = format!("{path}/retry");
        assert_eq!(client.send("POST", &retry, &[], b"").await?.status, retries);
    }
    // An upload that was refused is repeated by who may upload, and by nobody else.
    let refused = admin
        .send("PUT", "/v1/modules/evil", &[], b"not wasm")
        .await?;
    assert_eq!(refused.status, 422);
    let letters = admin
        .get("/v1/dead-letters?task=celeriac/admit")
        .await?
        .json()?;
    let path = format!(
        "/v1/dead-letters/{}/retry",
        ids(&letters).first().context("no letter")?
    );
    let input = json!({"input": {"digest": format!("sha256:{:064}", 0), "name": "basics"}});
    for body in [input, json!({})] {
        let answer = admin.post(&path, &body).await?;
        assert_eq!(
            (answer.status, &answer.json()?["code"]),
            (403, &json!("forbidden"))
        );
    }
    Ok(())
}
