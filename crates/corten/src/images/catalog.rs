//! The images that a new cloud offers (catalogue K99 to K101), as data: `catalog.toml`.

use anyhow::Context;
use serde::Deserialize;

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageClass {
    /// Virtual machines.
    Vm,
    /// Whole bare-metal servers.
    Metal,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// The vendor publishes it, with a file of checksums.
    Upstream { url: String, checksums: String },
    /// Nobody may publish it: what the operator has to do.
    Operator { provide: String },
}

/// One image of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CatalogImage {
    /// What `corten image pull` calls it.
    pub name: String,
    /// What a tenant reads.
    pub title: String,
    pub os: String,
    pub version: String,
    pub class: ImageClass,
    #[serde(default)]
    pub gpu: bool,
    /// The licence that is metered on top of the instance.
    pub licence: Option<String>,
    pub architecture: String,
    pub min_disk_gib: u32,
    pub min_ram_mib: u32,
    #[serde(flatten)]
    pub source: Source,
}

#[derive(Deserialize)]
struct CatalogFile {
    image: Vec<CatalogImage>,
}

/// Every image of the catalogue, in the order in which it is shown.
pub fn catalog() -> anyhow::Result<Vec<CatalogImage>> {
    let file: CatalogFile = toml::from_str(include_str!("catalog.toml"))
        .context("the built-in image catalogue is not valid")?;
    Ok(file.image)
}

/// The image of this name; the error lists the names there are.
pub fn find(name: &str) -> anyhow::Result<CatalogImage> {
    let images = catalog()?;
    let names: Vec<String> = images.iter().map(|image| image.name.clone()).collect();
    images
        .into_iter()
        .find(|image| image.name == name)
        .with_context(|| {
            format!(
                "the catalogue has no image {name}; it has: {}",
                names.join(", ")
            )
        })
}

/// The catalogue as an aligned table, one image a line.
pub fn catalog_table() -> anyhow::Result<String> {
    let header = [
        "NAME", "OS", "CLASS", "GPU", "LICENCE", "ARCH", "DISK GiB", "RAM MiB", "SOURCE",
    ]
    .map(str::to_owned);
    let mut rows = vec![header];
    rows.extend(catalog()?.iter().map(row));
    let mut widths = [0; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines = rows.iter().map(|row| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    });
    Ok(lines.collect())
}

fn row(image: &CatalogImage) -> [String; 9] {
    [
        image.name.clone(),
        image.title.clone(),
        match image.class {
            ImageClass::Vm => "vm",
            ImageClass::Metal => "metal",
        }
        .to_owned(),
        if image.gpu { "yes" } else { "-" }.to_owned(),
        image.licence.clone().unwrap_or_else(|| "-".to_owned()),
        image.architecture.clone(),
        image.min_disk_gib.to_string(),
        image.min_ram_mib.to_string(),
        match &image.source {
            Source::Upstream { url, .. } => url.clone(),
            Source::Operator { provide } => provide.clone(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn titles(wanted: impl Fn(&CatalogImage) -> bool) -> Vec<String> {
        catalog()
            .unwrap()
            .into_iter()
            .filter(wanted)
            .map(|image| image.title)
            .collect()
    }

    #[test]
    fn k99_linux_images_for_virtual_machines() {
        assert_eq!(
            titles(|image| image.class == ImageClass::Vm && image.os != "windows"),
            [
                "Ubuntu 20.04",
                "Ubuntu 20.04 (GPU)",
                "Ubuntu 22.04",
                "Ubuntu 22.04 (GPU)",
                "Ubuntu 24.04",
                "CentOS Stream 9",
                "Rocky Linux 8.10",
                "Rocky Linux 9.4",
                "AlmaLinux 8.10",
                "AlmaLinux 9.4",
            ]
        );
    }

    #[test]
    fn k100_windows_images_are_licensed_and_say_how_to_provide_them() {
        let windows: Vec<CatalogImage> = catalog()
            .unwrap()
            .into_iter()
            .filter(|image| image.os == "windows")
            .collect();
        let titles: Vec<&str> = windows.iter().map(|image| image.title.as_str()).collect();
        assert_eq!(
            titles,
            [
                "Windows Server 2019",
                "Windows Server 2019 with MSSQL 2019",
                "Windows Server 2022"
            ]
        );
        for image in windows {
            assert!(image.licence.is_some(), "{} has no licence", image.name);
            assert!(
                matches!(image.source, Source::Operator { .. }),
                "{} is downloaded",
                image.name
            );
        }
    }

    #[test]
    fn k101_metal_images_have_no_windows() {
        assert_eq!(
            titles(|image| image.class == ImageClass::Metal),
            [
                "Ubuntu 20.04",
                "Ubuntu 20.04 (GPU)",
                "Ubuntu 22.04",
                "Ubuntu 22.04 (GPU)",
                "CentOS Stream 8",
                "Rocky Linux 8",
                "Rocky Linux 9",
                "AlmaLinux 9",
            ]
        );
    }

    #[test]
    fn names_are_unique_and_gpu_and_title_agree() {
        let images = catalog().unwrap();
        let names: BTreeSet<&str> = images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names.len(), images.len());
        for image in &images {
            assert_eq!(image.gpu, image.title.ends_with("(GPU)"), "{}", image.name);
            if let Source::Upstream { url, checksums } = &image.source {
                assert!(
                    url.starts_with("https://") && checksums.starts_with("https://"),
                    "{}",
                    image.name
                );
            }
        }
    }

    #[test]
    fn the_table_lists_every_image_and_an_unknown_name_gets_the_list() {
        let table = catalog_table().unwrap();
        assert_eq!(table.lines().count(), catalog().unwrap().len() + 1);
        assert!(table.starts_with("NAME"), "{table}");
        let error = find("beos").unwrap_err().to_string();
        assert!(
            error.contains("beos") && error.contains("ubuntu-24.04"),
            "{error}"
        );
    }
}
