//! The highest epoch at which a task for a guest was given.
//!
//! Epochs of one guest only ever grow, also from one operation to the next, so a lower one comes from a worker that
//! lost its lease or from an operation that another command replaced.

use crate::error::HostError;
use crate::task::Fence;
use corten_model::ids::InstanceId;
use serde::{Deserialize, Serialize};

/// What is remembered of the tasks given for one guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fences {
    highest: i64,
}

impl Fences {
    /// Lets a task in or refuses it as stale. True if this is news that must be remembered.
    pub fn admit(&mut self, id: InstanceId, fence: Fence) -> Result<bool, HostError> {
        let Fence { operation, epoch } = fence;
        if epoch < self.highest {
            return Err(HostError::Fenced {
                id,
                operation,
                epoch,
                seen: self.highest,
            });
        }
        let news = epoch > self.highest;
        self.highest = epoch;
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_model::ids::OperationId;

    #[test]
    fn a_lower_epoch_is_refused_whichever_operation_it_comes_from() {
        let id = InstanceId::random();
        let at = |epoch| Fence {
            operation: OperationId::random(),
            epoch,
        };
        let mut fences = Fences::default();
        assert_eq!(fences.admit(id, at(2)), Ok(true));
        assert_eq!(fences.admit(id, at(2)), Ok(false));
        assert!(matches!(
            fences.admit(id, at(1)),
            Err(HostError::Fenced {
                epoch: 1,
                seen: 2,
                ..
            })
        ));
        assert_eq!(fences.admit(id, at(3)), Ok(true));
    }
}
