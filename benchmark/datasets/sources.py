"""Where data sets come from: archives whose SHA-256 is known in full, and exact manual steps for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Archive:
    """One file to download.

    Attributes:
        url: Direct https address.
        sha256: Digest of the whole file as anomalib 2.7.0 states it; no archive was downloaded here to confirm it.
    """

    url: str
    sha256: str

    @property
    def filename(self) -> str:
        """Last part of the address."""
        return self.url.rpartition("/")[2]


ARCHIVES: Mapping[str, Archive] = {
    "mvtec_ad": Archive(
        "https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/420938113-1629960298/"
        "mvtec_anomaly_detection.tar.xz",
        "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
    ),
    "visa": Archive(
        "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
        "2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
    ),
    "btad": Archive(
        "https://avires.dimi.uniud.it/papers/btad/btad.zip",
        "461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
    ),
    "mvtec_loco": Archive(
        "https://www.mydrive.ch/shares/48237/1b9106ccdfbb09a0c414bd49fe44a14a/download/430647091-1646842701/"
        "mvtec_loco_anomaly_detection.tar.xz",
        "9e7c84dba550fd2e59d8e9e231c929c45ba737b6b6a6d3814100f54d63aae687",
    ),
    "mvtec_ad_2": Archive(
        "https://www.mydrive.ch/shares/150997/701c90d3aea6588f404936e32a674602/download/466712769-1743429042/"
        "mvtec_ad_2.tar.gz",
        "c0ded99ef32bfc8e352d52beb44515e5b292b8598cb963aadfa91ca0763505e4",
    ),
}

STEPS: Mapping[str, str] = {
    "mvtec_ad": "Download the whole data set from its page and extract it; the 15 category folders lie side by side.",
    "visa": "Download VisA_20220922.tar (address in the official repository) and extract it; keep split_csv/.",
    "btad": "Download btad.zip and extract it to BTech_Dataset_transformed/ with the folders 01, 02 and 03.",
    "mpdd": "Follow the OneDrive link of the official repository, download everything and put the six category folders "
    "side by side.",
    "magnetic_tile": "Download the official repository and extract it; the folders MT_Free, MT_Blowhole, ... lie side "
    "by side.",
    "mvtec_loco": "Download the whole data set from its page and extract it; the five category folders lie side by "
    "side.",
    "mvtec_ad_2": "Download mvtec_ad_2.tar.gz from its page and extract it; the eight category folders lie side by "
    "side.",
    "real_iad": "Ask for access on the Hugging Face page, download realiad_1024 and realiad_jsons, and extract both "
    "side by side.",
    "bmad": "Follow the Google Drive link of the official repository and extract Brain, Liver and RESC side by side.",
    "bmad_image": "Follow the Google Drive link of the official repository and extract Chest, camelyon16 and OCT2017 "
    "side by side.",
    "isic": "On the 2016 challenge page take the test data and test ground truth of task 1, and extract both side by "
    "side: ISBI2016_ISIC_Part1_Test_Data and ISBI2016_ISIC_Part1_Test_GroundTruth.",
    "colondb": "Download the polyp archive from figshare and keep CVC-ColonDB/images and CVC-ColonDB/masks.",
    "clinicdb": "Register on the challenge page, download CVC-ClinicDB and keep 'Original' and 'Ground Truth' side by "
    "side.",
    "tn3k": "Follow the link of the official repository and keep test-image and test-mask side by side.",
    "folder": "Put your images into <category>/train/good, <category>/test/good and <category>/test/<defect>, and "
    "masks, if you have them, into <category>/ground_truth/<defect>/<name>_mask.png.",
}
