//! Virtual boards, power cuts, attacks, fidelity and tidiness of the workspace.
