//! Tables and plots from recorded values.
