"""Which test shows what becomes of each fault that a file of MRI data can have.

The numbers are those of the project's list of faults; what is not of MRI files (15, 25 to 35, 37 to 40 in part) is
tested where it belongs. A test named here that is gone, or a number that nothing covers, fails.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

FAULTS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("empty or no HDF5", ("data/test_fastmri.py::test_empty_and_foreign_files",)),
    2: ("truncated", ("data/test_fastmri.py::test_truncated_download_names_both_sizes",)),
    3: (
        "flipped bits in data",
        (
            "data/test_fastmri.py::test_flipped_bits_under_a_checksum",
            "data/test_manifest.py::test_sums_are_written_and_checked",
            "test_reconstruct.py::test_manifests_are_checked",
            "recipes/test_fastmri.py::test_other_settings_faulty_volumes_and_changed_files",
        ),
    ),
    4: (
        "damaged structure",
        (
            "data/test_mutations.py::test_damaged_files_are_read_or_refused",
            "data/test_mutations.py::test_three_thousand_damaged_files",
            "data/test_mutations.py::test_damaged_files_of_other_formats",
            "data/test_readouts.py::test_damaged_files_are_read_or_refused",
            "data/test_guarded.py::test_a_file_that_kills_its_reader",
            "data/test_guarded.py::test_an_endless_call_is_given_up",
        ),
    ),
    5: ("declared size", ("data/test_fastmri.py::test_declared_size_beyond_the_budget",)),
    6: (
        "compression bomb",
        (
            "data/test_fastmri.py::test_compression_bomb",
            "data/test_kspace_formats.py::test_arrays_and_their_faults",
            "data/test_kspace_formats.py::test_matlab_names_and_axes",
            "data/test_guarded.py::test_a_call_that_takes_all_memory",
        ),
    ),
    7: ("links out of the file", ("data/test_fastmri.py::test_external_link_soft_link_and_foreign_storage",)),
    8: (
        "missing key, other format",
        (
            "data/test_fastmri.py::test_missing_key_lists_what_is_there_and_guesses_the_format",
            "data/test_kspace_formats.py::test_foreign_names_and_options_get_a_sentence",
        ),
    ),
    9: (
        "header malformed or a bomb",
        (
            "data/test_fastmri.py::test_header_malformed_bomb_and_absent",
            "test_reconstruct.py::test_a_malformed_header_is_reported_before_the_work",
        ),
    ),
    10: (
        "real, paired, double, big-endian",
        (
            "data/test_fastmri.py::test_other_precision_and_byte_order_are_converted",
            "data/test_fastmri.py::test_pairs_need_a_word",
        ),
    ),
    11: ("compound fields", ("data/test_fastmri.py::test_compound_fields_are_converted",)),
    12: ("3-D k-space", ("data/test_fastmri.py::test_three_axes_need_evidence_or_a_word",)),
    13: ("mixed sizes", ("data/test_fastmri.py::test_files_are_grouped_by_shape",)),
    14: (
        "crop larger than the image",
        (
            "test_prepare.py::test_crops_about_the_centre_with_the_published_fallback",
            "test_reconstruct.py::test_a_crop_larger_than_the_image_falls_back_and_says_so",
        ),
    ),
    15: (
        "empty slice",
        (
            "data/test_fastmri.py::test_all_zero_slice_is_empty_and_no_error",
            "test_cli.py::test_empty_slices_become_zeros",
            "recipes/test_fastmri.py::test_empty_slices_are_zeros",
            "test_evaluate.py::test_what_cannot_be_scored_is_said_and_left_out",
        ),
    ),
    16: (
        "NaN in k-space",
        (
            "data/test_fastmri.py::test_non_finite_values_are_counted_and_located",
            "data/test_fastmri.py::test_non_finite_points_are_dropped_on_request",
            "data/test_readouts.py::test_values_that_are_not_finite_are_counted_and_located",
        ),
    ),
    17: ("data outside the mask", ("data/test_fastmri.py::test_data_outside_the_mask",)),
    18: ("negative zeros", ("data/test_fastmri.py::test_negative_zeros_lose_their_sign_where_masked",)),
    19: (
        "mask of another shape or with fractions",
        ("data/test_fastmri.py::test_bad_masks", "data/test_mask_files.py::test_what_is_no_mask"),
    ),
    20: (
        "mask all zero or all one",
        ("data/test_fastmri.py::test_bad_masks", "data/test_fastmri.py::test_good_masks_of_any_type"),
    ),
    21: (
        "infeasible masks",
        (
            "data/test_masks.py::test_infeasible_numbers_are_named",
            "data/test_masks.py::test_infeasible_fastmri_masks_name_their_numbers",
        ),
    ),
    22: (
        "coil maps NaN or of other coils",
        (
            "data/test_kspace_formats.py::test_stored_maps_that_do_not_fit",
            "operators/test_mri.py::test_unseen_pixels_end_at_zero",
            "data/test_readouts.py::test_what_does_not_fit_is_refused",
            "test_prepare.py::test_maps_that_nothing_tells_are_refused_with_what_to_do",
        ),
    ),
    23: (
        "a leak of fully sampled data",
        (
            "test_prepare.py::test_unsampled_points_are_not_seen",
            "data/test_coils.py::test_only_calibration_lines_are_read_and_scale_is_free",
            "data/test_coils.py::test_maps_by_division_read_calibration_lines_alone",
        ),
    ),
    36: (
        "disk full",
        (
            "data/test_writer.py::test_a_full_disk_leaves_nothing",
            "data/test_outputs.py::test_a_folder_appears_whole_or_not_at_all",
        ),
    ),
    37: (
        "output made with other settings",
        ("recipes/test_fastmri.py::test_other_settings_faulty_volumes_and_changed_files",),
    ),
    41: ("complex NIfTI", ("data/test_outputs.py::test_nifti_magnitude_phase_and_affine",)),
    42: ("DICOM without geometry", ("data/test_outputs.py::test_dicom_needs_an_orientation",)),
    43: (
        "names that lead elsewhere or repeat",
        (
            "data/test_manifest.py::test_bad_manifests_and_paths",
            "recipes/test_fastmri.py::test_volumes_of_one_name_in_two_folders_stay_apart",
        ),
    ),
    44: (
        "handles across processes",
        (
            "data/test_fastmri.py::test_a_sound_file_gives_its_content",
            "data/test_guarded.py::test_a_forked_process_has_a_child_of_its_own",
        ),
    ),
}


@pytest.mark.parametrize("number", FAULTS)
def test_the_tests_of_a_fault_exist(number: int) -> None:
    for name in FAULTS[number][1]:
        file, test = name.split("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


def test_no_fault_of_a_file_is_left_out() -> None:
    assert set(FAULTS) >= {*range(1, 24), 36, 41, 42, 43, 44}
