"""Industrial data sets beside MVTec AD: BTAD, magnetic tiles, MVTec LOCO and MVTec AD 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmark.datasets.files import Entry, FileDataset, folders_in, images_in, relative
from benchmark.datasets.mvtec import MVTecLayout
from benchmark.datasets.pairing import pair
from benchmark.storage.jsonio import digest_bytes
from benchmark.types.data import DatasetInfo, Problem


class BTAD(MVTecLayout):
    """BTAD (Mishra et al., ISIE 2021): three products; ``train/ok``, ``test/{ok,ko}``, ``ground_truth/ko``.

    Images are bmp (01, 03) or png (02), masks png or bmp with 0/1 or 0/255, so they pair by stem. Eleven defective
    images have an all-zero mask: they stay anomalous, because the label is the folder's.
    """

    folders = ("btad", "BTech_Dataset_transformed", "BTech")
    normal = "ok"
    info = DatasetInfo(
        name="btad",
        version=1,
        title="BTAD (beanTech)",
        categories=("01", "02", "03"),
        licence="CC-BY-SA (its readme); CC-BY-NC-SA-4.0 (anomalib)",
        url="https://avires.dimi.uniud.it/papers/btad/btad.zip",
        citation="Mishra et al., VT-ADL: a vision transformer network for image anomaly detection, ISIE 2021",
        class_names={"01": "product", "02": "product", "03": "product"},
    )


class MVTecLOCO(MVTecLayout):
    """MVTec LOCO AD (Bergmann et al., IJCV 2022): several masks per image in ``ground_truth/<type>/NNN/``, united."""

    folders = ("mvtec_loco", "mvtec_loco_anomaly_detection", "MVTec-LOCO-AD", "mvtec_loco_ad")
    info = DatasetInfo(
        name="mvtec_loco",
        version=1,
        title="MVTec LOCO AD",
        categories=("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"),
        licence="CC-BY-NC-SA-4.0",
        url="https://www.mvtec.com/company/research/datasets/mvtec-loco",
        citation="Bergmann et al., Beyond dents and scratches: logical constraints in anomaly detection, IJCV 2022",
        size_bytes=6_126_996_224,
        class_names={
            "breakfast_box": "breakfast box",
            "juice_bottle": "juice bottle",
            "pushpins": "box of pushpins",
            "screw_bag": "bag of screws",
            "splicing_connectors": "splicing connectors",
        },
    )

    def masked(self, root: Path, category: str, folder: Path) -> Iterator[tuple[Path, tuple[Path, ...]] | Problem]:
        """Each defective image with all files of its own mask folder."""
        images = images_in(folder)
        mask_folders = {path.name: path for path in folders_in(root / category / self.truth / folder.name)}
        for image in images:
            masks = images_in(mask_folders.pop(image.stem)) if image.stem in mask_folders else []
            if masks:
                yield image, tuple(masks)
            else:
                yield Problem(category, relative(root, image), "defective image without a mask")
        for path in mask_folders.values():
            yield Problem(category, relative(root, path), "masks without an image")


class MVTecAD2(MVTecLayout):
    """MVTec AD 2 (Heckler-Kram et al., 2025), public test set; the private sets have no labels and are not indexed.

    Files are named ``NNN_<lighting>``: the same scene under several lightings. Both parts are kept in ``Sample.meta``.
    """

    folders = ("mvtec_ad_2",)
    test = "test_public"
    truth = "test_public/ground_truth"
    info = DatasetInfo(
        name="mvtec_ad_2",
        version=1,
        title="MVTec AD 2",
        categories=("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts"),
        licence="CC-BY-NC-SA-4.0",
        url="https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
        citation="Heckler-Kram et al., The MVTec AD 2 dataset, arXiv 2503.21622",
        class_names={"fruit_jelly": "fruit jelly", "sheet_metal": "sheet metal"},
    )

    def meta(self, image: Path) -> Mapping[str, str]:
        """Scene number and lighting, from the file name."""
        scene, _, lighting = image.stem.partition("_")
        return {"scene": scene, "lighting": lighting}


class MagneticTile(FileDataset):
    """Magnetic tile surface defects (Huang et al., 2020): ``MT_<type>/Imgs/*.jpg`` with ``.png`` masks beside them.

    There is no official split. OURS: a normal tile (``MT_Free``) is tested when the SHA-256 of its number, the part of
    the name after ``num_``, is divisible by five; the others are for training. All defects are tested. Some tiles were
    photographed several times under numbers of their own, so near copies can stand in both splits. Masks carry
    compression noise: only grey levels above 127 are defects. The published counts were not confirmed on a full copy.
    """

    folders = ("magnetic_tile", "Magnetic-tile-defect-datasets", "magnetic-tile-defect-datasets-master")
    mask_threshold = 127
    info = DatasetInfo(
        name="magnetic_tile",
        version=1,
        title="Magnetic tile defects",
        categories=("magnetic_tile",),
        licence="not stated; research use",
        url="https://github.com/abin24/Magnetic-tile-defect-datasets.",
        citation="Huang et al., Surface defect saliency of magnetic tile, The Visual Computer 2020",
        class_names={"magnetic_tile": "magnetic tile"},
    )

    def home(self, root: Path, category: str) -> Path:
        """The folder of normal tiles: without it there is no data set."""
        return root / "MT_Free"

    def scan(self, root: Path, category: str) -> Iterator[Entry | Problem]:
        """Every tile; the folder ``MT_<type>`` is its label."""
        for folder in folders_in(root):
            if not folder.name.startswith("MT_"):
                continue
            files = images_in(folder / "Imgs")
            masks = [path for path in files if path.suffix.lower() == ".png"]
            images = [path for path in files if path not in masks]
            if folder.name == "MT_Free":
                yield from (Entry("test" if _is_tested(path) else "train", "good", path) for path in images)
                continue
            defect = folder.name.removeprefix("MT_").lower()
            for item in pair(root, category, images, masks):
                yield item if isinstance(item, Problem) else Entry("test", defect, item[0], (item[1],))

    def expected(self) -> str:
        """What the data set's folder must hold, for error messages."""
        return "folders MT_Free/, MT_Blowhole/, ..."


def _is_tested(image: Path) -> bool:
    number = image.stem.partition("num_")[2] or image.stem
    return int(digest_bytes(number.encode()), 16) % 5 == 0
