//! Flows, and what belongs to them: from text to the model, and what their templates may speak of.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::kinds;
use crate::config::{Report, load_text};
use crate::engine::setup::Setup;
use crate::model::flow::{AtEnd, CheckKind, Condition, Extract, ExtractFrom, FlowNode, Operator, Pause, Pick, Step, groups_of, steps_of};
use crate::model::profile::Profile;
use crate::model::request::{
    Auth, Body, Connections, Cookies, FormContent, GrpcSchema, Hidden, HttpVersion, Message, Request, SocketExchange, SocketParting,
    TokenSource,
};
use crate::model::template::{Encoding, Template};

const TARGET: &str = "{ base_url: \"http://shop.internal:8080/base/\", allow: [\"grpc.internal:9090\"] }";

/// A profile `p` with a scenario `s`; `{flow}` are the nodes, one a line, `{scenario}` other keys of it, `{profile}` those of the profile.
fn text(target: &str, profile: &str, scenario: &str, flow: &str) -> String {
    let nodes = flow.trim().lines().map(|line| format!("          {}\n", line.strip_prefix("        ").unwrap_or(line)));
    let nodes = nodes.collect::<Vec<String>>().concat();
    format!(
        "targets: {{ t: {target} }}\nprofiles:\n  p:\n    target: t\n{profile}    scenarios:\n      s:\n        executor: constant-vus\n        \
         vus: 2\n        duration: 1s\n{scenario}        flow:\n{nodes}"
    )
}

fn load(text: &str) -> Result<Setup, Report> {
    load_text("x.yaml", text, Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/bad_config/files")), &kinds())
}

fn profile(text: &str) -> Profile {
    load(text).unwrap_or_else(|report| panic!("{report}")).profiles["p"].clone()
}

fn flow(nodes: &str) -> Vec<FlowNode> {
    profile(&text(TARGET, "", "", nodes)).scenarios[0].flow.clone()
}

fn step(node: &str) -> Step {
    let flow = flow(node);
    steps_of(&flow).last().map(|step| (*step).clone()).unwrap()
}

fn codes(text: &str) -> Vec<&'static str> {
    load(text).map_or_else(|report| report.mistakes().iter().map(|mistake| mistake.code).collect(), |_| Vec::new())
}

fn body(node: &str) -> Body {
    step(node).http().unwrap().body.clone()
}

#[test]
fn every_node_has_its_place_in_the_tree() {
    let flow = flow(
        r#"
        - set: { page: 1, next: "/items?page=${page}" }
        - sequence: [{ step: first, get: "${next}", extract: { next: $.next, token: { header: X-Token } } }]
        - repeat: [1, 5]
          do: [{ step: again, get: / }]
        - repeat: 3
          do: { step: thrice, get: / }
        - while: "${next} and ${page} < 5"
          at_most: 7
          do: [{ step: page, get: "${next}" }]
        - if: not ${token}
          do: [{ step: anonymous, get: / }]
          else: [{ step: known, get: / }]
        - group: checkout
          do: [{ step: pay, post: / }, { group: inner, do: [{ step: confirm, post: / }] }]
        - parallel: [{ step: one, get: / }, { step: two, get: / }]
        - choose: [{ weight: 1.5, do: [{ step: rare, get: / }] }, { weight: 8, do: [] }]
        - pause: { normal: { mean: 2s, deviation: 500ms } }
        - pause: { exponential: 1s }
        - pace: 30s
        "#,
    );
    let names: Vec<&str> = steps_of(&flow).iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["first", "again", "thrice", "page", "anonymous", "known", "pay", "confirm", "one", "two", "rare"]);
    assert_eq!(groups_of(&flow), ["checkout", "inner"]);
    let FlowNode::Set(variables) = &flow[0] else { panic!() };
    assert_eq!(variables.iter().map(|(name, value)| (name.as_str(), value.source())).collect::<Vec<_>>().len(), 2);
    assert!(matches!(&flow[1], FlowNode::Sequence(inner) if inner.len() == 1));
    assert!(matches!(flow[2], FlowNode::Repeat { times: (1, 5), .. }));
    assert!(matches!(flow[3], FlowNode::Repeat { times: (3, 3), .. }));
    assert!(matches!(&flow[4], FlowNode::While { condition: Condition::All(all), at_most: 7, .. } if all.len() == 2));
    assert!(matches!(&flow[5], FlowNode::If { condition: Condition::Not(_), then, otherwise } if then.len() + otherwise.len() == 2));
    assert!(matches!(&flow[8], FlowNode::Choose(branches) if branches[0].0 > 1.4 && branches[1].1.is_empty()));
    assert_eq!(flow[9], FlowNode::Pause(Pause::Normal(Duration::from_secs(2), Duration::from_millis(500))));
    assert_eq!(flow[10], FlowNode::Pause(Pause::Exponential(Duration::from_secs(1))));
    assert_eq!(flow[11], FlowNode::Pace(Duration::from_secs(30)));
}

#[test]
fn templates_know_what_is_set_before_them() {
    for (nodes, expected) in [
        ("- { step: a, get: /, extract: { id: $.id } }\n- { step: b, get: \"/${id}\" }", vec![]),
        ("- { step: a, get: \"/${id}\", extract: { id: $.id } }", vec!["unknown-variable"]),
        ("- { step: a, get: \"/${id}/${di}\" }", vec!["unknown-variable", "unknown-variable"]),
        // A loop may set in one round what the next one uses; a branch what comes after all of them.
        ("- repeat: 2\n  do: [{ step: a, get: \"/${id}\" }, { step: b, get: /, extract: { id: $.id } }]", vec![]),
        ("- while: \"${id}\"\n  do: [{ step: b, get: /, extract: { id: $.id } }]", vec![]),
        ("- { step: b, get: /, extract: { id: $.id } }\n- while: \"${di} > 1\"\n  do: []", vec!["unknown-variable"]),
        ("- if: \"${uuid}\"\n  do: [{ set: { id: 1 } }]\n  else: [{ step: a, get: \"/${id}\" }]", vec!["unknown-variable"]),
        ("- if: \"${uuid}\"\n  do: [{ set: { id: 1 } }]\n- { step: a, get: \"/${id}\" }", vec![]),
        (
            "- choose: [{ weight: 1, do: [{ set: { id: 1 } }] }, { weight: 1, do: [{ step: a, get: \"/${id}\" }] }]",
            vec!["unknown-variable"],
        ),
        ("- choose: [{ weight: 1, do: [{ set: { id: 1 } }] }]\n- { step: a, get: \"/${id}\" }", vec![]),
        // What is done at the same time cannot wait for each other.
        ("- parallel: [{ step: a, get: /, extract: { id: $.id } }, { step: b, get: \"/${id}\" }]", vec!["unknown-variable"]),
        ("- parallel: [{ step: a, get: /, extract: { id: $.id } }]\n- { step: b, get: \"/${id}\" }", vec![]),
        ("- { step: a, websocket: /, extract: { id: { header: X } }, do: [{ step: b, send: \"${id}\" }] }", vec![]),
        ("- set: { a: 1, b: \"${a}\" }\n- { step: a, get: \"/${b}\" }", vec![]),
        ("- { step: a, post: /, json: { deep: [{ id: \"${nope}\" }] }, headers: { X: \"${nope}\" } }", vec!["unknown-variable"; 2]),
        ("- { step: a, get: \"/${vu}/${rand.int(1, 5)}/${now.iso}\" }", vec![]),
        ("- { step: a, get: \"/${setup.x}\" }", vec!["unknown-variable"]),
        // A node that cannot be read may have set anything: one mistake, not two.
        ("- { step: a, gte: /, extract: { id: $.id } }\n- { step: b, get: \"/${token}\" }", vec!["missing-key", "unknown-key"]),
    ] {
        let has_step = nodes.contains("step:");
        let nodes = if has_step { nodes.to_owned() } else { format!("{nodes}\n- {{ step: z, get: / }}") };
        let mut found = codes(&text(TARGET, "", "", &nodes));
        found.sort_unstable();
        assert_eq!(found, expected, "{nodes}");
    }
}

#[test]
fn addresses_are_an_origin_and_a_path() {
    for (get, origin, path) in [
        ("/a b?q=ü", "http://shop.internal:8080/", "/base/a%20b?q=%C3%BC"),
        ("\"/items/${vu}?n=${iteration}\"", "http://shop.internal:8080/", "/base/items/${vu}?n=${iteration}"),
        ("\"http://grpc.internal:9090?x=${vu}\"", "http://grpc.internal:9090/", "/?x=${vu}"),
        ("http://grpc.internal:9090", "http://grpc.internal:9090/", "/"),
        ("//double", "http://shop.internal:8080/", "/base//double"),
        ("\"/literal/$${x}\"", "http://shop.internal:8080/", "/base/literal/$%7Bx%7D"),
    ] {
        let step = step(&format!("- {{ step: a, get: {get} }}"));
        let address = &step.http().unwrap().address;
        assert_eq!((address.origin.as_str(), address.path.source().as_str()), (origin, path), "{get}");
    }
    let next = step("- set: { next: /x }\n- { step: a, get: \"${next}\" }");
    assert_eq!(next.http().unwrap().address.path.source(), "${next}", "the base path is a part of what an answer says");
}

#[test]
fn bodies_are_put_together() {
    let typed = body("- { step: a, post: /, json: { id: \"${vu}\", text: \"n ${vu}\", n: 1, cost: \"$${5}\" } }");
    assert!(matches!(typed, Body::Text(body) if body.source() == r#"{"id":"${vu}","text":"n ${vu}","n":1,"cost":"$${5}"}"#));
    let form = body("- { step: a, post: /, form: { \"user name\": \"a&b ${vu}\", n: 5 } }");
    assert!(matches!(form, Body::Text(body) if body.source() == "user%20name=a%26b%20${vu}&n=5"));
    let file = body("- { step: a, post: /, file: shifted.csv }");
    assert!(matches!(file, Body::Bytes(bytes) if bytes.starts_with(b"name,password")));
    let step = step("- { step: a, post: /, multipart: [{ name: a, value: \"${vu}\" }, { name: b, file: shifted.csv, type: text/csv }] }");
    let request = step.http().unwrap();
    let Body::Multipart(parts) = &request.body else { panic!() };
    assert!(matches!(&parts[0].content, FormContent::Text(text) if text.source() == "${vu}"));
    assert_eq!((parts[1].file_name.as_deref(), parts[1].content_type.as_deref()), (Some("shifted.csv"), Some("text/csv")));
    assert_eq!(request.headers, [], "the boundary is made with the body");
    for (keys, media_type) in [
        ("json: {}", "application/json"),
        ("body: x", "text/plain; charset=utf-8"),
        ("form: { a: b }", "application/x-www-form-urlencoded"),
        ("file: shifted.csv", "application/octet-stream"),
        ("json: {}, headers: { Content-Type: application/ld+json }", "application/ld+json"),
    ] {
        let step = self::step(&format!("- {{ step: a, post: /, {keys} }}"));
        let headers: Vec<String> = step.http().unwrap().headers.iter().map(|(_, value)| value.source()).collect();
        assert_eq!(headers, [media_type], "{keys}");
    }
}

#[test]
fn checks_and_extractions_say_what_they_look_at() {
    let step = step(
        r#"
        - step: a
          get: /
          redirects: 0
          check:
            status: 302
            "json $.n": "> 5"
            "json $.s": "!= done"
            "json $.t": "== '5'"
            "json $.u": "contains a b"
            "json $.v": { deep: [1] }
            header X-Cache: exists
            header Age: "< 10"
            header Location: /new
            body_size: "<= 10kB"
            body_matches: '^\d+$'
          extract:
            id: $.id
            any: { json: $.x, default: { a: 1 } }
            place: { header: Location }
            session: { cookie: sid }
            word: { regex: 'a(b)c', default: none }
        "#,
    );
    let kinds: Vec<CheckKind> = step.checks.into_iter().map(|check| check.kind).collect();
    let json = |path: &str, operator, value: serde_json::Value| CheckKind::Json(path.into(), operator, Template::of_json(&value).unwrap());
    assert_eq!(
        kinds,
        [
            CheckKind::Status(vec![302]),
            json("$.n", Operator::Above, json!(5)),
            json("$.s", Operator::NotEqual, json!("done")),
            json("$.t", Operator::Equal, json!("5")),
            json("$.u", Operator::Contains, json!("a b")),
            json("$.v", Operator::Equal, json!({"deep": [1]})),
            CheckKind::Header("X-Cache".into(), None),
            CheckKind::Header("Age".into(), Some((Operator::Below, Template::literal("10", Encoding::Plain)))),
            CheckKind::Header("Location".into(), Some((Operator::Equal, Template::literal("/new", Encoding::Plain)))),
            CheckKind::BodySize(Operator::AtMost, 10_000),
            CheckKind::BodyMatches("^\\d+$".into()),
        ]
    );
    let taken = |variable: &str, from, default| Extract { variable: variable.into(), from, default };
    assert_eq!(
        step.extracts,
        [
            taken("id", ExtractFrom::Json("$.id".into()), None),
            taken("any", ExtractFrom::Json("$.x".into()), Some(json!({"a": 1}))),
            taken("place", ExtractFrom::Header("Location".into()), None),
            taken("session", ExtractFrom::Cookie("sid".into()), None),
            taken("word", ExtractFrom::Regex("a(b)c".into()), Some(json!("none"))),
        ]
    );
}

#[test]
fn checks_compare_with_what_is_known_when_the_request_is_sent() {
    let with =
        |check: &str| format!("- set: {{ id: 1, nick: ann }}\n- {{ step: a, get: /, extract: {{ later: $.id }}, check: {{ {check} }} }}");
    for (check, name) in [
        (r#""json $.id": "${id}""#, r#"json $.id == "${id}""#),
        (r#""json $.id": "u-${id}""#, r#"json $.id == "u-${id}""#),
        (r#""json $.id": "> ${id}""#, r#"json $.id > "${id}""#),
        (r#""json $.ids": "contains ${id}""#, r#"json $.ids contains "${id}""#),
        (r#""json $.user": { id: "${id}", n: 1 }"#, r#"json $.user == {"id":"${id}","n":1}"#),
        (r#""header x-user": "${nick}""#, r#"header x-user == "${nick}""#),
        (r#"body_contains: "Hello ${nick}""#, r#"body contains "Hello ${nick}""#),
        (r#"body_contains: "$${nick}""#, r#"body contains "$${nick}""#),
    ] {
        let step = step(&with(check));
        assert_eq!(step.checks[0].name, name);
        assert_eq!(step.checks[0].kind.right_side().unwrap().constant().is_some(), check.contains("$$"), "{name}");
    }
    for (check, code) in [
        (r#""json $.id": "${nope}""#, "unknown-variable"),
        (r#""json $.user": { id: "${nope}" }"#, "unknown-variable"),
        (r#""header x-user": "${nope}""#, "unknown-variable"),
        (r#"body_contains: "${nope}""#, "unknown-variable"),
        // What a step takes from its answer is not there yet when its checks are filled in.
        (r#""json $.id": "${later}""#, "unknown-variable"),
        (r#"body_matches: "${id}""#, "unknown-variable"),
        (r#""json $.id": "matches ${id}""#, "unknown-variable"),
        (r#""json $.id": "${id""#, "bad-template"),
    ] {
        assert_eq!(codes(&text(TARGET, "", "", &with(check))), [code], "{check}");
    }
    let expecting = |right: &str| {
        format!("- set: {{ id: 1 }}\n- {{ step: a, websocket: /, do: [{{ step: b, send: x, expect: {{ \"json $.id\": \"{right}\" }} }}] }}")
    };
    assert!(codes(&text(TARGET, "", "", &expecting("${id}"))).is_empty());
    assert_eq!(codes(&text(TARGET, "", "", &expecting("${nope}"))), ["unknown-variable"]);
}

#[test]
fn setup_and_logins_connect_as_the_profile_or_its_scenarios_do() {
    let setup = "    setup: [{ step: seed, post: /seed }]\n";
    let of = |profile_keys: &str, scenario: &str| {
        let profile = profile(&text(TARGET, &format!("{setup}{profile_keys}"), scenario, "- { step: a, get: / }"));
        (profile.http, profile.scenarios[0].http.clone())
    };
    let (once, scenario) = of("", "");
    assert_eq!((once.version, scenario.version), (HttpVersion::Auto, HttpVersion::Auto));
    assert_eq!((scenario.cookies, scenario.connections), (Cookies::PerIteration, Connections::PerVu));
    let (once, _) = of("", "        http: { version: 2, connections: shared }\n");
    assert_eq!((once.version, once.connections), (HttpVersion::Http2, Connections::PerVu));
    let (once, scenario) = of("    http: { version: 2, cookies: per-vu }\n", "");
    assert_eq!((once.version, scenario.version, scenario.cookies), (HttpVersion::Http2, HttpVersion::Http2, Cookies::PerVu));
    let (once, scenario) = of("    http: { version: 2 }\n", "        http: { connections: per-iteration }\n");
    assert_eq!((once.version, scenario.version, scenario.connections), (HttpVersion::Http2, HttpVersion::Auto, Connections::PerIteration));
}

#[test]
fn a_profile_may_have_a_seed() {
    let of = |keys: &str| text(TARGET, keys, "", "- { step: a, get: / }");
    assert_eq!(profile(&of("")).seed, None);
    assert_eq!(profile(&of("    seed: 42\n")).seed, Some(42));
    assert_eq!(codes(&of("    seed: 9007199254740993\n")), ["out-of-range"]);
}

#[test]
fn vus_of_several_scenarios_have_rows_of_their_own() {
    let of = |rows: usize, at_end: &str| {
        let rows: Vec<String> = (0..rows).map(|row| format!("{{ id: {row} }}")).collect();
        let scenario = |name: &str| {
            format!(
                "      {name}:\n        executor: constant-vus\n        vus: 2\n        duration: 1s\n        data: {{ users: {{ rows: [{}], pick: unique{at_end} }} }}\n        flow: [{{ step: {name}, get: \"/${{users.id}}\" }}]\n",
                rows.join(", ")
            )
        };
        format!("targets: {{ t: {TARGET} }}\nprofiles:\n  p:\n    target: t\n    scenarios:\n{}{}", scenario("a"), scenario("b"))
    };
    let first = |profile: &Profile| profile.scenarios.iter().map(|scenario| scenario.data[0].first).collect::<Vec<_>>();
    let enough = profile(&of(4, ", at_end: stop"));
    assert_eq!((first(&enough), enough.notes.len()), (vec![0, 2], 0));
    assert_eq!(codes(&of(3, ", at_end: stop")), ["out-of-range"]);
    assert_eq!(profile(&of(3, "")).notes, ["`users` of `b` has 3 rows for 4 VUs: some of them share one"]);
}

#[test]
fn scenarios_have_data_and_connections() {
    let scenario = "        data:\n          users: { rows: [{ name: ann, n: 1 }, { name: bob, n: 2 }], pick: unique, at_end: stop }\n          \
                    any: { rows: [{ x: 1 }], pick: random }\n        http: { version: 2, connections: shared, redirects: 0, dns_ttl: 0, \
                    max_body: 1MiB, compression: true, cookies: none }\n";
    let loaded = profile(&text(TARGET, "", scenario, "- { step: a, get: \"/${users.name}/${any.x}\", check: { status: 302 } }"));
    let scenario = &loaded.scenarios[0];
    assert_eq!((scenario.data[0].pick, scenario.data[0].at_end), (Pick::Unique, AtEnd::Stop));
    assert_eq!((scenario.data[1].pick, scenario.data[1].at_end), (Pick::Random, AtEnd::Recycle));
    assert_eq!(scenario.data[0].columns, ["name", "n"]);
    assert_eq!(scenario.data[0].rows[1], [json!("bob"), json!(2)]);
    let http = &scenario.http;
    assert_eq!((http.version, http.connections, http.redirects), (HttpVersion::Http2, Connections::Shared, 0));
    assert_eq!((http.dns_ttl, http.max_body, http.compression, http.cookies), (Duration::ZERO, 1 << 20, true, Cookies::None));
    assert_eq!(profile(&text(TARGET, "", "", "- { step: a, get: / }")).scenarios[0].http, crate::model::request::HttpOptions::default());
}

#[test]
fn the_nearest_place_says_who_asks() {
    let target = r#"{ base_url: "http://shop.internal:8080", auth: customer, identities: {
        customer: { oauth2: { token_url: "http://shop.internal:8080/token", client_id: c, client_secret: hunter2, scope: [a, b] } },
        admin: { login: { flow: [{ step: login, post: /login, extract: { token: $.t } }], token: "${token}", refresh: 10m } } } }"#;
    let nodes = r#"
        - { step: inherited, get: / }
        - { step: named, get: /, auth: admin }
        - { step: none, get: /, auth: none }
        - { step: token, get: /, bearer: "${vu}" }
        - { step: basic, get: /, basic: { user: "u-${vu}", password: "p$${" } }
        - { step: header, get: /, headers: { authorization: Custom x } }
        - { step: call, grpc: { call: a.B/C, reflection: true } }
        - { step: socket, websocket: /ws }
        - { step: again, get: /, auth: { oauth2: { token_url: "http://shop.internal:8080/token", client_id: c, client_secret: hunter2, scope: a b } } }
        "#;
    let loaded = profile(&text(target, "    setup: [{ step: prepare, post: /, auth: admin }]\n", "", nodes));
    let auth = |step: &Step| match &step.request {
        Request::Http(request) => request.auth.clone(),
        Request::Grpc(request) => request.auth.clone(),
        Request::Connect(request) => request.auth.clone(),
        Request::Exchange(_) | Request::Part(_) => panic!(),
    };
    let [TokenSource::Login { flow, refresh, .. }, TokenSource::ClientCredentials { client_secret: Hidden(secret), scope, .. }] =
        &loaded.tokens[..]
    else {
        panic!("each source once, in the order of their use: {:?}", loaded.tokens)
    };
    assert_eq!((flow.len(), *refresh, secret.as_str(), scope.as_deref()), (1, Some(Duration::from_secs(600)), "hunter2", Some("a b")));
    assert_eq!(auth(steps_of(&loaded.setup)[0]), Some(Auth::Shared(0)));
    let found: Vec<Option<Auth>> = steps_of(&loaded.scenarios[0].flow).into_iter().map(auth).collect();
    let shared = Some(Auth::Shared(1));
    assert_eq!((&found[0], &found[1], &found[2]), (&shared, &Some(Auth::Shared(0)), &None));
    assert!(matches!(&found[3], Some(Auth::Bearer(Hidden(token))) if token.source() == "${vu}"));
    assert!(matches!(&found[4], Some(Auth::Basic(user, Hidden(word))) if user.source() == "u-${vu}" && word.constant() == Some("p${")));
    assert_eq!(found[5..], [None, shared.clone(), shared.clone(), shared]);
    let own = text(target, "", "        auth: { bearer: \"${setup.key}\" }\n", "- { step: a, get: / }");
    assert_eq!(codes(&own), ["unknown-variable"]);
    let own = own.replace("    scenarios:", "    setup: [{ step: prepare, post: /, extract: { key: $.k } }]\n    scenarios:");
    let scenarios = profile(&own).scenarios;
    assert!(matches!(auth(steps_of(&scenarios[0].flow)[0]), Some(Auth::Bearer(Hidden(token))) if token.source() == "${setup.key}"));
}

#[test]
fn calls_and_sessions_are_requests_of_their_own() {
    let call = step(
        r#"
        - step: record
          grpc: { address: "grpc.internal:9090", call: events.v1.Events/Record, proto: events.proto, message: { user: "${vu}" }, metadata: { x-a: "${uuid}" } }
          check: { grpc_status: [OK, 5], "json $.id": exists, header x-b: exists, duration: < 1s }
        "#,
    );
    let Request::Grpc(request) = &call.request else { panic!() };
    assert_eq!(
        (request.origin.as_str(), request.service.as_str(), request.method.as_str()),
        ("http://grpc.internal:9090/", "events.v1.Events", "Record")
    );
    assert!(matches!(&request.schema, GrpcSchema::Files(files, _) if files[0].ends_with("events.proto")));
    assert_eq!((request.messages[0].source().as_str(), request.metadata[0].1.source().as_str()), (r#"{"user":"${vu}"}"#, "${uuid}"));
    assert_eq!(call.checks[0].name, "grpc_status is OK or NOT_FOUND");
    let Request::Grpc(plain) = step("- { step: a, grpc: { call: a.B/C, reflection: true } }").request else { panic!() };
    assert_eq!((plain.origin.as_str(), plain.messages[0].source().as_str()), ("http://shop.internal:8080/", "{}"));

    let flow = flow(
        r#"
        - step: chat
          websocket: /ws
          subprotocols: [chat.v1]
          check: { status: 101 }
          do:
            - { step: hello, send: { type: hello, vu: "${vu}" }, expect: { "json $.type": welcome }, extract: { id: $.id } }
            - { step: text, send: "id ${id}" }
            - { step: bytes, send_file: shifted.csv, expect: any, check: { body_contains: x, duration: < 1s } }
            - { step: http, get: / }
        "#,
    );
    let [FlowNode::Session(session)] = &flow[..] else { panic!() };
    assert!(matches!(&session.connect.request, Request::Connect(request) if request.subprotocols == ["chat.v1"]));
    let requests: Vec<&Request> = steps_of(&session.flow).iter().map(|step| &step.request).collect();
    let Request::Exchange(SocketExchange { send: Some(Message::Text(hello)), expect: Some(expect) }) = requests[0] else { panic!() };
    assert_eq!(hello.source(), r#"{"type":"hello","vu":"${vu}"}"#);
    assert_eq!(expect[..], [CheckKind::Json("$.type".into(), Operator::Equal, Template::of_json(&json!("welcome")).unwrap())]);
    assert!(matches!(requests[1], Request::Exchange(SocketExchange { send: Some(Message::Text(_)), expect: None })));
    assert!(
        matches!(requests[2], Request::Exchange(SocketExchange { send: Some(Message::Binary(_)), expect: Some(all) }) if all.is_empty())
    );
}

#[test]
fn a_socket_is_ended_by_one_of_its_steps() {
    let parting = |keys: &str| {
        let flow = flow(&format!("- {{ step: chat, websocket: /ws, do: [{{ set: {{ why: done }} }}, {{ step: end, {keys} }}] }}"));
        let [FlowNode::Session(session)] = &flow[..] else { panic!() };
        let Request::Part(parting) = &steps_of(&session.flow)[0].request else { panic!("{keys}") };
        parting.clone()
    };
    for (keys, code, reason) in [
        ("close: 1000", 1000, ""),
        ("close: 3000", 3000, ""),
        ("close: { code: 4999 }", 4999, ""),
        ("close: {}", 1000, ""),
        ("close: { reason: \"${why}\" }", 1000, "${why}"),
    ] {
        let SocketParting::Close { code: own, reason: told } = parting(keys) else { panic!("{keys}") };
        assert_eq!((own, told.source().as_str()), (code, reason), "{keys}");
    }
    for (keys, said, codes) in [
        ("closed: any", false, &[][..]),
        ("closed: 1005", false, &[1005]),
        ("send: quit, closed: [1000, 4003]", true, &[1000, 4003]),
        ("send_file: shifted.csv, closed: 1009", true, &[1009]),
    ] {
        let SocketParting::Closed { send, codes: own } = parting(keys) else { panic!("{keys}") };
        assert_eq!((send.is_some(), own.as_slice()), (said, codes), "{keys}");
    }
}

#[test]
fn the_digest_tells_one_end_of_a_socket_from_another() {
    let ends = [
        "close: 1000",
        "close: 4001",
        "close: { reason: done }",
        "closed: any",
        "closed: 1000",
        "send: x, closed: any",
        "send: y, closed: any",
    ];
    let digest =
        |end: &str| profile(&text(TARGET, "", "", &format!("- {{ step: chat, websocket: /ws, do: [{{ step: end, {end} }}] }}"))).digest;
    let digests: std::collections::BTreeSet<String> = ends.into_iter().map(digest).collect();
    assert_eq!(digests.len(), ends.len());
    assert_eq!(digest("close: 1000"), digest("close: { code: 1000 }"));
}

#[test]
fn an_end_that_cannot_be_is_a_mistake() {
    let found = |nodes: &str| codes(&text(TARGET, "", "", &format!("- {{ step: chat, websocket: /ws, do: [{nodes}] }}")));
    for keys in [
        "close: 1000, closed: any",
        "close: 1000, expect: any",
        "closed: 1000, expect: any",
        "send: x, close: 1000",
        "send_file: shifted.csv, close: 1000",
    ] {
        assert_eq!(found(&format!("{{ step: end, {keys} }}")), ["conflicting-keys"], "{keys}");
    }
    for keys in [
        "close: 999",
        "close: 1001",
        "close: 2999",
        "close: 5000",
        "close: 70000",
        "closed: 1004",
        "closed: 1006",
        "closed: [1000, 1015]",
        "closed: 5000",
    ] {
        assert_eq!(found(&format!("{{ step: end, {keys} }}")), ["out-of-range"], "{keys}");
    }
    for keys in ["close: now", "close: \"1000\"", "close: [1000]", "close: { code: x }", "closed: never", "closed: []", "closed: {}"] {
        assert_eq!(found(&format!("{{ step: end, {keys} }}")), ["wrong-type"], "{keys}");
    }
    assert_eq!(found("{ step: end, close: { reason: \"${nobody}\" } }"), ["unknown-variable"]);
    // What stands after the end in a straight line finds no socket; what may come about otherwise is left to the run.
    let (end, more) = ("{ step: end, close: 1000 }", "{ step: more, send: x }");
    assert_eq!(found(&format!("{end}, {more}")), ["no-websocket"]);
    assert_eq!(found(&format!("{{ step: kicked, closed: any }}, {more}, {end}")), ["no-websocket", "no-websocket"]);
    assert_eq!(found(&format!("{{ sequence: [{end}] }}, {{ repeat: 2, do: [{more}] }}")), ["no-websocket"]);
    for fine in [
        format!("{more}, {end}, {{ step: other, get: / }}"),
        format!("{{ if: \"${{vu}} > 1\", do: [{end}], else: [{more}] }}, {{ step: last, send: x }}"),
        format!("{{ repeat: 2, do: [{more}, {end}] }}, {{ step: last, expect: any }}"),
        format!("{{ choose: [{{ weight: 1, do: [{end}] }}, {{ weight: 1, do: [{more}] }}] }}"),
    ] {
        assert_eq!(found(&fine), [""; 0], "{fine}");
    }
    let one = |name: &str, steps: &str| format!("{{ step: {name}, websocket: /ws, do: [{steps}] }}");
    let both = format!("- {{ sequence: [{}, {}] }}", one("chat", end), one("again", more));
    assert_eq!(codes(&text(TARGET, "", "", &both)), [""; 0]);
}

#[test]
fn setup_leaves_variables_for_all_that_follows() {
    let around = "    setup: [{ step: make, post: /, extract: { id: $.id } }, { set: { color: red } }]\n    teardown: [{ step: drop, delete: \"/${setup.id}\" }]\n";
    let loaded = profile(&text(TARGET, around, "", "- { step: a, get: \"/${setup.id}/${setup.color}\" }"));
    assert_eq!((loaded.setup.len(), loaded.teardown.len()), (2, 1));
    assert_eq!(codes(&text(TARGET, around, "", "- { step: a, get: \"/${id}\" }")), ["unknown-variable"]);
    let flawed = around.replace("post: /", "psot: /");
    assert_eq!(codes(&text(TARGET, &flawed, "", "- { step: a, get: \"/${setup.other}\" }")), ["missing-key", "unknown-key"]);
}

#[test]
fn all_mistakes_of_a_flow_are_told_at_once() {
    let report = load(&text(
        TARGET,
        "    setup: [{ step: make, post: /, jsno: {} }]\n",
        "        http: { version: 9 }\n        data: { users: { csv: nowhere.csv } }\n",
        r#"
        - { step: a, get: "/${users.anything}/${nope}", chekc: {} }
        - group: g
          do: [{ step: a, post: /, json: {}, body: x }, { repeat: 0, do: [{ pause: 5 }] }]
        - { step: b, get: "http://elsewhere/", timeout: 0s }
        "#,
    ))
    .unwrap_err();
    let mut found: Vec<&str> = report.mistakes().iter().map(|mistake| mistake.code).collect();
    found.sort_unstable();
    let expected = [
        "conflicting-keys",
        "duplicate-name",
        "host-not-allowed",
        "missing-unit",
        "out-of-range",
        "out-of-range",
        "unknown-key",
        "unknown-key",
        "unknown-word",
        "unreadable-file",
    ];
    assert_eq!(found, expected, "{report}");
}

#[test]
fn a_client_certificate_needs_its_own_key() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["shop.internal".into()]).unwrap();
    write("cert.pem", made.cert.pem());
    write("key.pem", made.signing_key.serialize_pem());
    write("other.pem", rcgen::KeyPair::generate().unwrap().serialize_pem());
    let load = |tls: &str| {
        let target = format!("{{ base_url: \"https://shop.internal\", tls: {{ {tls} }} }}");
        load_text("x.yaml", &text(&target, "", "", "- { step: a, get: / }"), dir.path(), &kinds())
    };
    let fine = load("ca_file: [cert.pem], cert_file: cert.pem, key_file: key.pem, server_name: shop.test, min_version: 1.3").unwrap();
    let tls = &fine.targets["t"].target.tls;
    assert_eq!((tls.ca.len(), tls.identity.is_some(), tls.server_name.as_deref()), (1, true, Some("shop.test")));
    assert_eq!((tls.only_tls13, tls.verify), (true, true));
    assert!(!format!("{tls:?}").contains("PRIVATE"), "{tls:?}");
    let codes = |tls: &str| load(tls).unwrap_err().mistakes().iter().map(|mistake| mistake.code).collect::<Vec<_>>();
    assert_eq!(codes("cert_file: cert.pem, key_file: other.pem"), ["bad-certificate"]);
    assert_eq!(codes("cert_file: key.pem, key_file: key.pem, ca_file: key.pem"), ["bad-certificate", "bad-certificate"]);
    assert_eq!(codes("ca_file: nothing.pem"), ["unreadable-file"]);
}

/// The file of an example that has nearly every key of a flow.
fn example(name: &str) -> String {
    std::fs::read_to_string(format!("{}/config/examples/{name}/{name}.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Bits of real flows in any order: deep enough to reach every decoder and every template.
    #[test]
    fn no_mutation_of_a_real_flow_panics(
        which in 0_usize..5,
        at in 0.0_f64..1.0,
        len in 0_usize..60,
        with in "[a-z0-9:{}\\[\\], \n$%/<>.\"'é_()-]{0,12}",
    ) {
        let name = ["flow-control", "data-and-templates", "extraction-and-checks", "grpc", "websocket"][which];
        let mut text = example(name);
        let start = (at * text.len() as f64) as usize;
        let end = (start + len).min(text.len());
        prop_assume!(text.is_char_boundary(start) && text.is_char_boundary(end));
        text.replace_range(start..end, &with);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(name);
        if let Err(report) = load_text("x", &text, &folder, &kinds()) {
            prop_assert!(report.count() > 0 && !report.to_string().is_empty());
        }
    }
}

#[test]
fn the_digest_covers_flows_and_no_secret() {
    let target = "{ base_url: \"http://shop.internal:8080\", identities: { a: { oauth2: { token_url: \"http://shop.internal:8080/t\", \
                  client_id: c, client_secret: one } } } }";
    let whole = text(
        target,
        "    setup: [{ step: make, post: /make, extract: { id: $.id } }]\n    teardown: [{ step: drop, delete: /drop }]\n",
        "        data: { users: { rows: [{ name: ann }] } }\n        http: { redirects: 3 }\n        auth: a\n",
        "- { step: a, get: \"/${users.name}\", basic: { user: ann, password: two }, check: { status: 200 }, extract: { x: $.x } }\n- { group: g, \
         do: [{ repeat: 2, do: [{ step: b, post: /, multipart: [{ name: p, value: v }] }] }] }\n- { if: \"${x} > 1\", do: [{ step: w, websocket: \
         /ws, do: [{ step: s, send: hi, expect: any }] }] }\n- { parallel: [{ step: q, get: /q }] }\n- { set: { y: 1 } }\n- { pause: { exponential: 1s } }",
    );
    let digest = |text: &str| profile(text).digest;
    let first = digest(&whole);
    for (from, to) in [("client_secret: one", "client_secret: 1"), ("two", "2"), ("status: 200", "status: 201"), ("group: g", "group: h")] {
        assert_eq!(digest(&whole.replace(from, to)), first, "{from}");
    }
    for (from, to) in [
        ("/make", "/made"),
        ("/drop", "/dropped"),
        ("ann }]", "bob }]"),
        ("redirects: 3", "redirects: 4"),
        ("auth: a", "auth: none"),
        ("client_id: c", "client_id: d"),
        ("user: ann", "user: bob"),
        ("x: $.x", "x: $.y"),
        ("repeat: 2", "repeat: 3"),
        ("value: v", "value: w"),
        ("> 1", "> 2"),
        ("expect: any", "expect: { body: json }"),
        ("send: hi", "send: ho"),
        ("get: /q", "get: /r"),
        ("y: 1", "y: 2"),
        ("exponential: 1s", "exponential: 2s"),
        ("identities:", "tls: { min_version: 1.3 }, identities:"),
    ] {
        assert_ne!(digest(&whole.replacen(from, to, 1)), first, "{from}");
    }
}
