//! Who shares connections and cookies, and what a change of a name's address does.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use plimsoll::model::failure::Reason;
use plimsoll::model::request::{Connections, Cookies, HttpOptions};
use plimsoll::protocol::dns::Dns;
use plimsoll::protocol::http::{Call, HttpClient};

use super::asker::{Ask, Ways, answer, failure, on_a_load_thread};
use super::notepad::{Answer, Noted, Notepad, text, with};

fn ways(connections: Connections) -> Ways {
    Ways { options: HttpOptions { connections, ..HttpOptions::default() }, ..Ways::default() }
}

fn fine(_: &Noted) -> Answer {
    text(200, "fine")
}

#[tokio::test]
async fn connections_are_kept_shared_or_not_as_the_scenario_says() {
    for (policy, opened) in [(Connections::PerVu, 3), (Connections::Shared, 1), (Connections::PerRequest, 12)] {
        let server = Notepad::start(fine).await;
        let ways = ways(policy);
        on_a_load_thread(async {
            let pool = ways.pool(&[server.host()]);
            let mut clients: Vec<HttpClient> = (0..3).map(|_| HttpClient::new(pool.clone())).collect();
            let ask = Ask::new("GET", &server.url("/"), &ways);
            let mut connected = 0;
            for _ in 0..4 {
                for client in &mut clients {
                    let exchange = ask.by(client).await;
                    assert_eq!(answer(&exchange), (200, "fine".into()));
                    connected += u64::from(exchange.outcome.connected);
                }
            }
            assert_eq!((connected, server.connections()), (opened, opened), "{policy:?}");
            let close = server.take().iter().filter(|noted| noted.header("connection") == Some("close")).count();
            assert_eq!(close, if policy == Connections::PerRequest { 12 } else { 0 });
        })
        .await;
    }
}

#[tokio::test]
async fn a_shared_pool_grows_with_requests_at_the_same_time_only() {
    let server = Notepad::start(fine).await;
    let ways = ways(Connections::Shared);
    on_a_load_thread(async {
        let pool = ways.pool(&[server.host()]);
        let ask = Ask::new("GET", &server.url("/"), &ways);
        for _ in 0..3 {
            let mut clients: Vec<HttpClient> = (0..10).map(|_| HttpClient::new(pool.clone())).collect();
            let all = clients.iter_mut().map(|client| ask.by(client));
            assert!(futures_util::future::join_all(all).await.iter().all(|exchange| answer(exchange).0 == 200));
        }
        assert!(server.connections() <= 10, "{}", server.connections());
    })
    .await;
}

#[tokio::test]
async fn cookies_belong_to_a_vu() {
    let visits = |asked: &Noted| {
        let count = asked.header("cookie").and_then(|cookie| cookie.strip_prefix("visits=")?.parse::<u32>().ok()).unwrap_or(0);
        with(text(200, format!("{count}")), &[("set-cookie", &format!("visits={}; Path=/", count + 1))])
    };
    let server = Notepad::start(visits).await;
    on_a_load_thread(async {
        let ways = Ways::default();
        let pool = ways.pool(&[server.host()]);
        let ask = Ask::new("GET", &server.url("/"), &ways);
        let (mut ann, mut bob) = (HttpClient::new(pool.clone()), HttpClient::new(pool));
        let count = async |client: &mut HttpClient| answer(&ask.by(client).await).1;
        assert_eq!((count(&mut ann).await, count(&mut ann).await, count(&mut bob).await), ("0".into(), "1".into(), "0".into()));
        // Requests of a VU at the same time are of the same user, who has one browser.
        let mut beside = ann.sibling();
        assert_eq!((count(&mut beside).await, count(&mut ann).await), ("2".into(), "3".into()));
        assert_eq!(server.connections(), 2);
        ann.forget_cookies();
        ann.hang_up();
        assert_eq!(count(&mut ann).await, "0");
        let without = Ways { options: HttpOptions { cookies: Cookies::None, ..HttpOptions::default() }, ..Ways::default() };
        let mut nobody = HttpClient::new(without.pool(&[server.host()]));
        let ask = Ask::new("GET", &server.url("/"), &without);
        for _ in 0..2 {
            assert_eq!(answer(&ask.by(&mut nobody).await).1, "0");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_rendered_goes_out_with_what_was_prepared() {
    let echo = |asked: &Noted| text(200, format!("{} {:?} {}", asked.path, asked.header("x-id"), String::from_utf8_lossy(&asked.body)));
    let server = Notepad::start(echo).await;
    on_a_load_thread(async {
        let ways = Ways::default();
        let mut client = HttpClient::new(ways.pool(&[server.host()]));
        let mut ask = Ask::new("POST", &server.url("/constant"), &ways);
        ask.body = "as prepared".into();
        let request = ask.prepare();
        let call = Call { path: Some("/items/7?x=%20"), headers: &[("X-Id", "7")], body: Some(b"rendered"), ..Call::default() };
        assert_eq!(answer(&client.send(&request, call).await).1, "/items/7?x=%20 Some(\"7\") rendered");
        let exchange = client.send(&request, Call::default()).await;
        assert_eq!(answer(&exchange).1, "/constant None as prepared");
        client.recycle(exchange);
        let (reason, message) = failure(&client.send(&request, Call { path: Some("/a b"), ..Call::default() }).await);
        assert_eq!((reason, server.take().len()), (Some(Reason::Script("path".into())), 2), "{message}");
        assert_eq!(answer(&client.send(&request, Call::default()).await).1, "/constant None as prepared");
    })
    .await;
}

#[tokio::test]
async fn an_address_is_used_for_its_time_to_live_and_the_guard_sees_the_new_one() {
    let one = Notepad::start(|_| text(200, "one")).await;
    let port = one.address.port();
    let two = Notepad::start_on(([127, 0, 0, 2], port).into(), |_| text(200, "two")).await;
    let asked = Arc::new(AtomicU8::new(0));
    let lookup = asked.clone();
    let dns = Dns::new(Arc::new(move |_| {
        let address = match lookup.fetch_add(1, Ordering::Relaxed) {
            0 => IpAddr::from([127, 0, 0, 1]),
            1 => IpAddr::from([127, 0, 0, 2]),
            _ => IpAddr::from([169, 254, 169, 254]),
        };
        Box::pin(async move { Ok(vec![address]) })
    }));
    on_a_load_thread(async {
        let url = format!("http://shop.internal:{port}/");
        let allow = [format!("shop.internal:{port}")];
        let options = HttpOptions { connections: Connections::PerRequest, ..HttpOptions::default() };
        let keeping = Ways { options, dns, ..Ways::default() };
        let mut client = HttpClient::new(keeping.pool(&allow));
        let ask = Ask::new("GET", &url, &keeping);
        for _ in 0..3 {
            assert_eq!(answer(&ask.by(&mut client).await).1, "one");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        // Without a time to live every connection asks anew.
        let mut fresh = keeping.clone();
        fresh.options.dns_ttl = Duration::ZERO;
        let mut client = HttpClient::new(fresh.pool(&allow));
        assert_eq!(answer(&ask.by(&mut client).await).1, "two");
        assert_eq!(failure(&ask.by(&mut client).await).0, Some(Reason::BlockedByGuard));
        assert_eq!((one.connections(), two.connections()), (3, 1));
    })
    .await;
}
