//! Sensors over IPMI: the sensor data records and their readings.

use super::{Ipmi, words};
use crate::error::BmcError;
use crate::sensors::Sensors;

impl Ipmi {
    pub(super) async fn read_sensors(&self) -> Result<Sensors, BmcError> {
        let command = ["-c", "sdr", "elist", "full"];
        let said = self.tool.run(&command).await?;
        Ok(Sensors(words::sensors(&said, self.tool.oddities())))
    }
}
