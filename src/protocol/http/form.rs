//! Bodies of forms: multipart (RFC 7578, names as browsers write them) and URL-encoded, and the header of basic authentication. The
//! caller brings the parts rendered.

use base64::Engine;

/// A part of a multipart form, rendered.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Name of the field.
    pub name: &'a str,
    /// Name of the file, if it is one.
    pub file_name: Option<&'a str>,
    /// Media type, if told.
    pub content_type: Option<&'a str>,
    /// What it holds.
    pub content: &'a [u8],
}

/// Writes a multipart body into `body`, which is emptied first; returns its boundary, which is the same for the same parts and occurs in
/// none of them. The request's `Content-Type` is [`multipart_type`] of it.
pub fn multipart(parts: &[Part<'_>], body: &mut Vec<u8>) -> String {
    let boundary = boundary(parts);
    body.clear();
    for part in parts {
        body.extend_from_slice(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(part.name)).as_bytes());
        if let Some(name) = part.file_name {
            body.extend_from_slice(format!("; filename=\"{}\"", quoted(name)).as_bytes());
        }
        if let Some(kind) = part.content_type.or(part.file_name.map(|_| "application/octet-stream")) {
            let kind: String = kind.chars().filter(|letter| !letter.is_control()).collect();
            body.extend_from_slice(format!("\r\nContent-Type: {kind}").as_bytes());
        }
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    boundary
}

/// The `Content-Type` of a multipart body with this boundary.
pub fn multipart_type(boundary: &str) -> String {
    format!("multipart/form-data; boundary={boundary}")
}

/// A line that no part contains.
fn boundary(parts: &[Part<'_>]) -> String {
    let occurs = |line: &str| parts.iter().any(|part| part.content.windows(line.len()).any(|window| window == line.as_bytes()));
    let mut number = 0_u64;
    loop {
        let line = format!("plimsoll-form-boundary-{number:08x}");
        if !occurs(&line) {
            return line;
        }
        number += 1;
    }
}

/// A name within quotes, as the HTML standard says.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// An `application/x-www-form-urlencoded` body.
pub fn url_encoded<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The value of `Authorization` for a user and a password (RFC 7617).
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_as_browsers_write_them() {
        let parts = [
            Part { name: "title", file_name: None, content_type: None, content: b"a card" },
            Part { name: "fi\"le\r\n", file_name: Some("a\"b.png"), content_type: None, content: b"\x89PNG\r\n" },
            Part { name: "json", file_name: None, content_type: Some("application/json\r\nX-Evil: 1"), content: b"{}" },
        ];
        let mut body = b"what was there before".to_vec();
        let boundary = multipart(&parts, &mut body);
        let expected = [
            b"--B\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\na card\r\n".as_slice(),
            b"--B\r\nContent-Disposition: form-data; name=\"fi%22le%0D%0A\"; filename=\"a%22b.png\"\r\n",
            b"Content-Type: application/octet-stream\r\n\r\n\x89PNG\r\n\r\n",
            b"--B\r\nContent-Disposition: form-data; name=\"json\"\r\nContent-Type: application/jsonX-Evil: 1\r\n\r\n{}\r\n--B--\r\n",
        ];
        let expected = String::from_utf8_lossy(&expected.concat()).replace("--B", &format!("--{boundary}"));
        assert_eq!(String::from_utf8_lossy(&body), expected);
        assert_eq!(multipart_type("b"), "multipart/form-data; boundary=b");
    }

    #[test]
    fn the_boundary_occurs_in_no_part() {
        let mut body = Vec::new();
        let first = multipart(&[Part { name: "a", file_name: None, content_type: None, content: b"" }], &mut body);
        let content = format!("--{first}--");
        let second = multipart(&[Part { name: "a", file_name: None, content_type: None, content: content.as_bytes() }], &mut body);
        assert_ne!(first, second);
        assert_eq!(String::from_utf8_lossy(&body).matches(&second).count(), 2);
    }

    #[test]
    fn fields_and_credentials_are_encoded() {
        assert_eq!(url_encoded([("a b", "1&2"), ("ü", "=")]), "a+b=1%262&%C3%BC=%3D");
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
