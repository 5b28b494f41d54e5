//! PLACEHOLDER so that the rest compiles: its owner replaces this whole file.
#[derive(Clone, Debug)]
pub struct Net;
impl Net {
    pub fn new(_: Option<&std::path::Path>) -> Result<Net, String> {
        Ok(Net)
    }
    pub fn http_client(&self) -> Result<reqwest::Client, String> {
        Err("".into())
    }
}
