//! Explanations: SHAP, LIME, integrated gradients, permutation importance.
