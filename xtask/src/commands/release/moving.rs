//! Moving tags of the newest release: `latest`, and one for each flavor.

use super::plan::Plan;
use crate::domain::promise::Promise;

impl Plan {
    pub(super) async fn move_tag(&self, promise: &Promise, name: &str) -> anyhow::Result<String> {
        if !self.is_newest {
            return Ok("not moved: there is a later revision".to_owned());
        }
        let reference = format!(":{name}");
        if self.repository.digest(&reference).await?.as_ref() == Some(&promise.index) {
            return Ok("already moved".to_owned());
        }
        self.repository.push(&self.merged(), &reference).await?;
        Ok(promise.index.to_string())
    }
}
