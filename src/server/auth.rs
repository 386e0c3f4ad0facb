//! Who may start, steer, cancel and reload: the bearer of a token whose SHA-256 is configured. Compared in constant time, all of them,
//! so that neither the length of a match nor the position of a token can be measured.

use axum::extract::FromRequestParts;
use axum::http::request::Parts as RequestParts;
use axum::http::{StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::Parts;
use super::error::ApiError;

/// A request with a valid token; holds the token's name.
pub(super) struct Bearer(pub(super) String);

impl FromRequestParts<Parts> for Bearer {
    type Rejection = ApiError;

    async fn from_request_parts(request: &mut RequestParts, parts: &Parts) -> Result<Self, ApiError> {
        let header = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        name_of(parts, header.and_then(bearer), "send `Authorization: Bearer TOKEN`").map(Self)
    }
}

/// The name of the token that somebody gave; `hint` says how to give one.
pub(super) fn name_of(parts: &Parts, token: Option<&str>, hint: &str) -> Result<String, ApiError> {
    let tokens = parts.engine.status().setup.server.tokens.clone();
    if tokens.is_empty() {
        let message = "no token is configured, so nothing can be started or stopped over HTTP: add one under `server.tokens_file`";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "no_tokens", message));
    }
    let Some(token) = token else { return Err(ApiError::new(StatusCode::UNAUTHORIZED, "token_required", hint)) };
    match find(&tokens, token) {
        Some(name) => Ok(name.to_owned()),
        None => Err(ApiError::new(StatusCode::UNAUTHORIZED, "token_unknown", "this token is not known")),
    }
}

/// The token of `Bearer TOKEN`; the scheme is read without regard to case.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Name of the token with the same digest; looks at every token whatever it finds.
fn find<'a>(tokens: &'a [(String, [u8; 32])], token: &str) -> Option<&'a str> {
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let mut found = Choice::from(0);
    let mut position = 0_u64;
    for (index, (_, known)) in tokens.iter().enumerate() {
        let same = known.ct_eq(&digest);
        position = u64::conditional_select(&position, &(index as u64), same);
        found |= same;
    }
    if bool::from(found) { tokens.get(position as usize).map(|(name, _)| name.as_str()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bearer_scheme_counts() {
        for (header, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Bearer  ", None),
            ("", None),
        ] {
            assert_eq!(bearer(header), token, "{header:?}");
        }
    }

    #[test]
    fn a_token_is_found_by_its_digest() {
        let digest = |text: &str| -> [u8; 32] { Sha256::digest(text.as_bytes()).into() };
        let tokens = vec![("ci".to_owned(), digest("one")), ("ops".to_owned(), digest("two"))];
        assert_eq!(find(&tokens, "two"), Some("ops"));
        assert_eq!(find(&tokens, "one"), Some("ci"));
        assert_eq!(find(&tokens, "three"), None);
        assert_eq!(find(&tokens, ""), None);
    }
}
