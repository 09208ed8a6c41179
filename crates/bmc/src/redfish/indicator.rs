//! The indicator light of a Redfish system, or of the chassis that it is in.

use super::Redfish;
use super::document::Document;
use crate::bmc::{Bmc, Indicator};
use crate::capability::Capability;
use crate::error::BmcError;
use serde_json::json;

/// The newer key, true or false.
const ACTIVE: &str = "LocationIndicatorActive";
const LED: &str = "IndicatorLED";

const STATES: &[(&str, Indicator)] = &[
    ("Off", Indicator::Off),
    ("Lit", Indicator::Lit),
    ("Blinking", Indicator::Blinking),
];

impl Redfish {
    pub(super) async fn indicator_document(&self) -> Result<Option<Document>, BmcError> {
        let layout = self.layout().await?;
        for path in std::iter::once(&layout.system).chain(&layout.chassis) {
            let document = self.transport.get_part(path).await?;
            if let Some(document) = document
                && (document.has(ACTIVE) || document.has(LED))
            {
                return Ok(Some(document));
            }
        }
        Ok(None)
    }

    async fn light(&self) -> Result<Document, BmcError> {
        let document = self.indicator_document().await?;
        document.ok_or_else(|| self.lacks(Capability::Indicator))
    }

    pub(super) async fn read_indicator(&self) -> Result<Indicator, BmcError> {
        let document = self.light().await?;
        let led = document.word(LED, STATES);
        let active = document.flag(ACTIVE).map(|active| {
            if active {
                Indicator::Blinking
            } else {
                Indicator::Off
            }
        });
        led.or(active)
            .ok_or_else(|| document.without(self.name(), LED, "Off, Lit or Blinking"))
    }

    pub(super) async fn write_indicator(&self, wanted: Indicator) -> Result<(), BmcError> {
        let document = self.light().await?;
        let body = if document.has(LED) {
            let word = STATES.iter().find(|(_, state)| *state == wanted);
            json!({LED: word.map(|(word, _)| word)})
        } else {
            json!({ACTIVE: wanted != Indicator::Off})
        };
        self.transport.patch(&document, &body).await?;
        let mut settle = self.settle("the indicator light", format!("{wanted:?}"));
        loop {
            let seen = self.read_indicator().await?;
            // Some lights can only be on or off.
            if (seen == Indicator::Off) == (wanted == Indicator::Off) {
                return Ok(());
            }
            settle.wait(format!("{seen:?}")).await?;
        }
    }
}
