use bytes::Bytes;

/// The first part of a form that has a file, as `@supabase/supabase-js` sends blobs: `content_type` names the boundary.
pub fn first_file(content_type: &str, body: &Bytes) -> Option<Bytes> {
    let boundary = content_type.split("boundary=").nth(1)?.split(';').next()?.trim().trim_matches('"');
    let delimiter = format!("--{boundary}");
    let mut at = find(body, delimiter.as_bytes(), 0)? + delimiter.len();
    loop {
        let head_end = find(body, b"\r\n\r\n", at)?;
        let part = head_end + 4;
        let end = find(body, format!("\r\n{delimiter}").as_bytes(), part)?;
        let head = String::from_utf8_lossy(&body[at..head_end]).to_ascii_lowercase();
        if head.contains("filename=") || head.contains("name=\"\"") {
            return Some(body.slice(part..end));
        }
        at = end + 2 + delimiter.len();
    }
}

fn find(body: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let found = body.get(from..)?.windows(needle.len()).position(|window| window == needle)?;
    Some(from + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_file_behind_the_fields() {
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
