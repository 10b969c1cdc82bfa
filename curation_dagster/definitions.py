"""The code location that Dagster loads: the graph under the profile that CURATION_PROFILE names."""

from curation_dagster.build import build_defs
from resources.profile import profile_path

defs = build_defs(profile_path())
