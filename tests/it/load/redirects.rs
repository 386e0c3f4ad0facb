//! Where redirects lead: hop by hop, within the limit and the allow list, with what belongs to the next origin only.

use plimsoll::model::failure::Reason;
use plimsoll::protocol::http::{Headers, HttpClient, Keep};

use super::asker::{Ask, Ways, answer, failure, on_a_load_thread};
use super::notepad::{Answer, Noted, Notepad, text, with};
use crate::servers::free_port;

/// `/STATUS/to/LOCATION` redirects; anything else answers what was asked.
fn lead(asked: &Noted) -> Answer {
    match asked.path.strip_prefix('/').and_then(|path| path.split_once("/to/")) {
        Some((status, location)) => {
            let answer = text(status.parse().expect("a status"), "moved");
            with(answer, &[("location", &location.replace("%23", "#")), ("set-cookie", &format!("via-{status}=yes; Path=/"))])
        }
        None => text(200, format!("{} {}", asked.method, asked.path)),
    }
}

#[tokio::test]
async fn methods_and_bodies_change_as_the_status_says() {
    let server = Notepad::start(lead).await;
    let ways = Ways::default();
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.host()]));
        for (method, status, arrives_as, keeps_body) in [
            ("POST", 301, "GET", false),
            ("POST", 302, "GET", false),
            ("PUT", 303, "GET", false),
            ("POST", 307, "POST", true),
            ("PUT", 308, "PUT", true),
            ("GET", 302, "GET", false),
            ("HEAD", 303, "HEAD", false),
        ] {
            let body = if matches!(method, "POST" | "PUT") { "the body" } else { "" };
            let mut ask = Ask::new(method, &server.url(&format!("/{status}/to//there%23part")), &ways).header("Content-Type", "text/plain");
            (ask.body, ask.redirects) = (body.into(), 3);
            let exchange = ask.by(&mut client).await;
            let expected = if method == "HEAD" { String::new() } else { format!("{arrives_as} /there") };
            assert_eq!(answer(&exchange), (200, expected), "{method} {status}");
            let noted = server.take();
            assert_eq!(noted.len(), 2);
            assert_eq!((noted[1].method.as_str(), noted[1].body.as_ref()), (arrives_as, if keeps_body { body.as_bytes() } else { b"" }));
            assert_eq!(noted[1].header("content-type").is_some(), keeps_body, "{method} {status}");
            // The redirect is a request of its own, with figures of its own.
            assert_eq!(exchange.hops.len(), 1);
            assert!(exchange.hops[0].failure.is_none() && exchange.hops[0].bytes_received > 0, "{:?}", exchange.hops);
            assert!(exchange.outcome.bytes_received > 0 && !exchange.outcome.connected, "{:?}", exchange.outcome);
        }
        assert_eq!(server.connections(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_chain_is_followed_up_to_its_limit_and_a_loop_ends() {
    let server = Notepad::start(lead).await;
    let ways = Ways::default();
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.host()]));
        let mut ask = Ask::new("GET", &server.url("/301/to//302/to//307/to//end"), &ways);
        ask.redirects = 3;
        let exchange = ask.by(&mut client).await;
        assert_eq!((answer(&exchange), exchange.hops.len()), ((200, "GET /end".into()), 3));
        ask.redirects = 2;
        let exchange = ask.by(&mut client).await;
        assert_eq!(failure(&exchange), (Some(Reason::Protocol), "more than 2 redirects; the last one leads to /end".into()));
        assert_eq!((exchange.hops.len(), exchange.status), (2, None));
        // Not followed at all: the redirect is the answer.
        ask.redirects = 0;
        let exchange = ask.by(&mut client).await;
        assert_eq!((answer(&exchange), exchange.hops.len()), ((301, "moved".into()), 0));
        server.take();
        let mut ask = Ask::new("GET", &server.url("/302/to/?again"), &ways);
        ask.redirects = 10;
        // Relative: `/302/to/?again` leads to itself for ever.
        let exchange = ask.by(&mut client).await;
        assert_eq!((failure(&exchange).0, exchange.hops.len(), server.take().len()), (Some(Reason::Protocol), 10, 11));
    })
    .await;
}

#[tokio::test]
async fn a_redirect_off_the_allow_list_is_blocked_and_never_connected_to() {
    let (server, other) = (Notepad::start(lead).await, Notepad::start(lead).await);
    let ways = Ways::default();
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.host()]));
        for to in [other.url("/"), format!("http://127.0.0.1:{}/", free_port()), "http://169.254.169.254/latest/meta-data".into()] {
            let mut ask = Ask::new("GET", &server.url(&format!("/302/to/{to}")), &ways);
            ask.redirects = 5;
            let exchange = ask.by(&mut client).await;
            assert_eq!((failure(&exchange).0, exchange.hops.len()), (Some(Reason::BlockedByGuard), 1), "{to}");
        }
        assert_eq!(other.connections(), 0);
        for nowhere in ["ftp://127.0.0.1/", "file:///etc/passwd", "http://"] {
            let mut ask = Ask::new("GET", &server.url(&format!("/302/to/{nowhere}")), &ways);
            ask.redirects = 5;
            let (reason, message) = failure(&ask.by(&mut client).await);
            assert_eq!(reason, Some(Reason::Protocol), "{nowhere}");
            assert!(message.contains("which is not an address of http or https"), "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn credentials_stay_with_their_origin_and_cookies_follow_their_rules() {
    let (server, other) = (Notepad::start(lead).await, Notepad::start(lead).await);
    let ways = Ways::default();
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.host(), other.host()]));
        let back = other.url(&format!("/302/to/{}", server.url("/home")));
        let mut ask = Ask::new("GET", &server.url(&format!("/302/to/{back}")), &ways);
        ask = ask.header("Authorization", "Bearer secret-of-shop").header("Cookie", "own=1").header("X-Trace", "7");
        (ask.redirects, ask.keep) = (5, Keep { body: true, headers: Headers::All });
        let exchange = ask.by(&mut client).await;
        assert_eq!(answer(&exchange), (200, "GET /home".into()));
        let (ours, theirs) = (server.take(), other.take());
        let seen = |noted: &Noted| (noted.header("authorization").is_some(), noted.header("x-trace").map(str::to_owned));
        // Not when it leads back, either: the path is the other host's choice.
        assert_eq!(ours.iter().map(seen).collect::<Vec<_>>(), [(true, Some("7".into())), (false, Some("7".into()))]);
        assert_eq!(theirs.iter().map(seen).collect::<Vec<_>>(), [(false, Some("7".into()))]);
        assert_eq!(theirs[0].header("host"), Some(other.host().as_str()));
        // Cookies know no ports (RFC 6265, 8.5): both servers are 127.0.0.1, so the jar's cookie goes to both, the author's to one.
        assert_eq!(ours[0].header("cookie"), Some("own=1"));
        assert_eq!(theirs[0].header("cookie"), Some("via-302=yes"));
        assert_eq!(ours[1].header("cookie"), Some("via-302=yes"));
        assert_eq!(exchange.set_cookies, vec!["via-302=yes; Path=/"; 2]);
    })
    .await;
}
