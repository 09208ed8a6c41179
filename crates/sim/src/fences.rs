//! Which operations have given tasks for a guest, and at which epoch: a worker that lost its lease is refused.

use corten_host::{Fence, HostError};
use corten_model::ids::{InstanceId, OperationId};

/// Operations remembered per guest, as on a real host.
const REMEMBERED: usize = 32;

/// The highest epoch seen of each operation, the operation seen last at the end.
#[derive(Debug, Clone, Default)]
pub struct Fences(Vec<(OperationId, i64)>);

impl Fences {
    pub fn admit(&mut self, id: InstanceId, fence: Fence) -> Result<(), HostError> {
        let Fence { operation, epoch } = fence;
        let known = self.0.iter().position(|(seen, _)| *seen == operation);
        if let Some(index) = known {
            let (_, seen) = self.0.remove(index);
            self.0.push((operation, seen.max(epoch)));
            if seen > epoch {
                return Err(HostError::Fenced {
                    id,
                    operation,
                    epoch,
                    seen,
                });
            }
            return Ok(());
        }
        self.0.push((operation, epoch));
        let surplus = self.0.len().saturating_sub(REMEMBERED);
        self.0.drain(..surplus);
        Ok(())
    }
}
