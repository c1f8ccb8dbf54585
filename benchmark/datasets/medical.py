"""Medical data sets: four with masks and no normal image (pixel metrics only), and BMAD."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from benchmark.datasets.files import Entry, FileDataset, folders_in, images_in
from benchmark.datasets.pairing import pair
from benchmark.types.data import DatasetInfo, Problem


class PairedFolders(FileDataset):
    """One folder of images, all anomalous, and one of masks; paired by stem."""

    pairs: ClassVar[tuple[tuple[str, str], ...]]
    """(image folder, mask folder) as official copies and common mirrors name them; the first that exists is used."""
    ending: ClassVar[str] = ""
    defect: ClassVar[str]

    def home(self, root: Path, category: str) -> Path:
        """The folder of images."""
        return next((root / images for images, _ in self.pairs if (root / images).is_dir()), root / self.pairs[0][0])

    def scan(self, root: Path, category: str) -> Iterator[Entry | Problem]:
        """Every image with its mask."""
        images = self.home(root, category)
        masks = next(root / mask_folder for folder, mask_folder in self.pairs if root / folder == images)
        for item in pair(root, category, images_in(images), images_in(masks), self.ending):
            yield item if isinstance(item, Problem) else Entry("test", self.defect, item[0], (item[1],))

    def expected(self) -> str:
        """What the data set's folder must hold, for error messages."""
        return "folders " + " or ".join(f"{images}/ and {masks}/" for images, masks in self.pairs)


class ISIC(PairedFolders):
    """ISIC 2016 task 1, test part (Gutman et al., 2016): skin lesions."""

    folders = ("isic", "isic2016", "ISIC_2016_task1")
    pairs = (("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),)
    ending = "_Segmentation"
    defect = "lesion"
    info = DatasetInfo(
        name="isic",
        version=1,
        title="ISIC 2016 task 1",
        categories=("skin",),
        licence="CC0-1.0",
        url="https://challenge.isic-archive.com/data/#2016",
        citation="Gutman et al., Skin lesion analysis toward melanoma detection, arXiv 1605.01397",
        has_normals=False,
        redistributable=True,
    )


class ColonDB(PairedFolders):
    """CVC-ColonDB (Tajbakhsh et al., TMI 2015): 380 colonoscopy frames with polyps."""

    folders = ("colondb", "CVC-ColonDB")
    pairs = (("images", "masks"),)
    defect = "polyp"
    info = DatasetInfo(
        name="colondb",
        version=1,
        title="CVC-ColonDB",
        categories=("colon",),
        licence="unclear; research use",
        url="https://figshare.com/articles/figure/Polyp_DataSet_zip/21221579",
        citation="Tajbakhsh et al., Automated polyp detection in colonoscopy videos, TMI 2015",
        has_normals=False,
    )


class ClinicDB(PairedFolders):
    """CVC-ClinicDB (Bernal et al., 2015): 612 frames; the official TIFF files that Pillow refuses, or PNG mirrors."""

    folders = ("clinicdb", "CVC-ClinicDB", "cvc_clinicdb", "TIF")
    pairs = (("Original", "Ground Truth"), ("images", "masks"))
    mask_threshold = 127
    defect = "polyp"
    info = DatasetInfo(
        name="clinicdb",
        version=1,
        title="CVC-ClinicDB",
        categories=("colon",),
        licence="none stated; research use",
        url="https://polyp.grand-challenge.org/CVCClinicDB/",
        citation="Bernal et al., WM-DOVA maps for accurate polyp highlighting, CMIG 2015",
        has_normals=False,
    )


class TN3K(PairedFolders):
    """TN3K, test part (Gong et al., ISBI 2021): thyroid ultrasound; masks are JPEG, so grey levels above 127 count."""

    folders = ("tn3k", "Thyroid Dataset")
    pairs = (("test-image", "test-mask"),)
    mask_threshold = 127
    defect = "nodule"
    info = DatasetInfo(
        name="tn3k",
        version=1,
        title="TN3K",
        categories=("thyroid",),
        licence="not stated; research use",
        url="https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
        citation="Gong et al., Multi-task learning for thyroid nodule segmentation, ISBI 2021",
        has_normals=False,
    )


class BMADLayout(FileDataset):
    """BMAD (Bao et al., CVPR workshops 2024): ``train/good[/img]``, ``test/{good,Ungood}[/img]`` with ``label/`` masks.

    The ``valid`` split holds labelled anomalies for model selection, which no track uses; it is not indexed.
    """

    folders = ("bmad",)
    aliases: ClassVar[dict[str, tuple[str, ...]]]
    """Category -> folder names in circulation."""

    def home(self, root: Path, category: str) -> Path:
        """The folder of a category, under any of its names and in any case."""
        names = {name.lower() for name in self.aliases[category]}
        return next((folder for folder in folders_in(root) if folder.name.lower() in names), root / category)

    def scan(self, root: Path, category: str) -> Iterator[Entry | Problem]:
        """Every image of the train and test splits."""
        home = self.home(root, category)
        yield from (Entry("train", "good", path) for path in _flat_or_nested(home / "train" / "good"))
        yield from (Entry("test", "good", path) for path in _flat_or_nested(home / "test" / "good"))
        bad = _flat_or_nested(home / "test" / "Ungood")
        if not self.info.has_masks:
            yield from (Entry("test", "Ungood", path) for path in bad)
            return
        for item in pair(root, category, bad, images_in(home / "test" / "Ungood" / "label")):
            yield item if isinstance(item, Problem) else Entry("test", "Ungood", item[0], (item[1],))


class BMAD(BMADLayout):
    """The three BMAD sets with masks. Published counts were not found, so a copy's counts are not checked."""

    aliases = {  # noqa: RUF012
        "brain": ("Brain", "Brain_AD", "BraTS2021_slice"),
        "liver": ("Liver", "Liver_AD", "hist_DIY"),
        "retina_resc": ("RESC", "Retina_RESC", "Retina_RESC_AD"),
    }
    info = DatasetInfo(
        name="bmad",
        version=1,
        title="BMAD, with masks",
        categories=("brain", "liver", "retina_resc"),
        licence="CC-BY-NC-SA-4.0 (anomalib)",
        url="https://github.com/DorisBao/BMAD",
        citation="Bao et al., BMAD: benchmarks for medical anomaly detection, CVPR workshops 2024",
        class_names={"retina_resc": "retina"},
    )


class BMADImage(BMADLayout):
    """The three BMAD sets with image labels only. Published counts were not found, so a copy's are not checked."""

    aliases = {  # noqa: RUF012
        "chest": ("Chest", "Chest_AD", "RSNA", "Chest-RSNA"),
        "histopathology": ("camelyon16", "Camelyon16_AD", "Histopathology", "Histopathology_AD"),
        "retina_oct2017": ("OCT2017", "Retina_OCT2017", "Retina_OCT2017_AD"),
    }
    info = DatasetInfo(
        name="bmad_image",
        version=1,
        title="BMAD, image labels only",
        categories=("chest", "histopathology", "retina_oct2017"),
        licence="CC-BY-NC-SA-4.0 (anomalib)",
        url="https://github.com/DorisBao/BMAD",
        citation="Bao et al., BMAD: benchmarks for medical anomaly detection, CVPR workshops 2024",
        has_masks=False,
        class_names={"histopathology": "lymph node tissue", "retina_oct2017": "retina"},
    )


def _flat_or_nested(folder: Path) -> list[Path]:
    """Images of a folder, or of its ``img`` folder."""
    return images_in(folder) or images_in(folder / "img")
