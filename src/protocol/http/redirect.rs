//! Where a redirect leads, and what becomes of the request on the way (RFC 9110, 15.4; methods as browsers and Go change them).

use http::Method;

use super::prepared::{Hop, Leg};
use crate::model::failure::Reason;
use crate::protocol::dial::{Broken, Origin};
use crate::protocol::redact::shown;

/// Whether an answer with this status and a `Location` is a redirect.
pub(super) fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// The request that a redirect asks for; `Err` when it does not lead to an address of HTTP.
pub(super) fn follow(leg: &Leg<'_>, status: u16, location: &str) -> Result<Hop, Broken> {
    let astray = || {
        let to = shown(location.as_bytes(), &[]);
        Broken(Reason::Protocol, format!("status {status} leads to `{to}`, which is not an address of http or https"))
    };
    let base = format!("{}://{}{}", leg.origin.scheme(), leg.origin.authority(), leg.path);
    let base = url::Url::parse(&base).map_err(|_| astray())?;
    let url = base.join(location).map_err(|_| astray())?;
    let origin = Origin::of(&url).filter(|_| matches!(url.scheme(), "http" | "https")).ok_or_else(astray)?;
    let keeps_body = matches!(status, 307 | 308);
    let method = if keeps_body || *leg.method == Method::HEAD { leg.method.clone() } else { Method::GET };
    Ok(Hop {
        // For good, also when it leads back: the path is another's choice (as Go does it since CVE-2024-45336).
        foreign: leg.foreign || origin != *leg.origin,
        origin,
        path: url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
        method,
        bodiless: leg.bodiless || !keeps_body,
    })
}

/// The failure of a request that was led on for too long.
pub(super) fn too_many(limit: u32, location: &str) -> Broken {
    let to = shown(location.as_bytes(), &[]);
    Broken(Reason::Protocol, format!("more than {limit} redirects; the last one leads to {to}"))
}
