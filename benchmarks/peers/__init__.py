"""The INT8 models of this repository beside those that other toolkits make of the same model."""
