use bytes::{Buf as _, Bytes};

/// The file of a form, as `@supabase/supabase-js` sends blobs. `content_type` names the boundary.
pub fn first_file(content_type: &str, body: &Bytes) -> Option<Bytes> {
    let boundary = content_type.split("boundary=").nth(1)?.split(';').next()?.trim().trim_matches('"');
    let delimiter = format!("--{boundary}");
    let (_, mut rest) = split(body.clone(), delimiter.as_bytes())?;
    loop {
        let (head, part) = split(rest, b"\r\n\r\n")?;
        let (content, following) = split(part, format!("\r\n{delimiter}").as_bytes())?;
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if head.contains("filename=") || head.contains("name=\"\"") {
            return Some(content);
        }
        rest = following;
    }
}

/// The bytes before and after the first `separator`, which is not empty.
fn split(mut bytes: Bytes, separator: &[u8]) -> Option<(Bytes, Bytes)> {
    let at = bytes.windows(separator.len()).position(|window| window == separator)?;
    let before = bytes.split_to(at);
    bytes.advance(separator.len());
    Some((before, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_file_after_the_fields() {
        let kind = "multipart/form-data; boundary=xyz";
        let body = "--xyz\r\nContent-Disposition: form-data; name=\"cacheControl\"\r\n\r\n3600\r\n--xyz\r\n\
                    Content-Disposition: form-data; name=\"\"; filename=\"blob\"\r\nContent-Type: image/png\r\n\r\n\
                    a\r\nb\0\r\n--xyz--\r\n";
        assert_eq!(first_file(kind, &Bytes::from(body)), Some(Bytes::from("a\r\nb\0")));
        assert_eq!(first_file(kind, &Bytes::from("--xyz\r\n\r\n1\r\n--xyz--")), None);
        assert_eq!(first_file("multipart/form-data", &Bytes::from(body)), None);
        assert_eq!(first_file(kind, &Bytes::from("garbage")), None);
    }
}
