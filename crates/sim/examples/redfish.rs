//! Serves simulated servers by Redfish: `redfish [ADDRESS [COUNT [SHAPE [http]]]]`.
//!
//! The first line that it prints is the URL, of https with a certificate that nobody signed, unless `http` is said. The
//! user is `admin`, the password `s3cret-horse`. With `mixed` as the shape each node has the next one.

use corten_sim::SimMachines;
use corten_sim::redfish::{RedfishService, SelfSigned, Shape};
use std::error::Error;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8000".to_owned());
    let count: usize = arguments.next().map_or(Ok(1), |count| count.parse())?;
    let shape = arguments.next().unwrap_or("standard".to_owned());
    let shapes: Vec<Shape> = match shape.as_str() {
        "mixed" => Shape::all().collect(),
        name => vec![Shape::named(name)?],
    };
    let machines = SimMachines::default();
    let service = RedfishService::new("admin", "s3cret-horse");
    for (number, shape) in (1..=count).zip(shapes.iter().cycle()) {
        let id = number.to_string();
        service.add(&id, machines.get(&id), *shape);
    }
    let listener = TcpListener::bind(address).await?;
    let at = listener.local_addr()?;
    if arguments.next().as_deref() == Some("http") {
        println!("http://{at}");
        service.serve(listener).await?;
    } else {
        let shown = SelfSigned::new(&at.ip().to_string())?;
        println!("https://{at}");
        service.serve_tls(listener, shown.config).await?;
    }
    Ok(())
}
