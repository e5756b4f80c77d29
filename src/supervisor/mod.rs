//! Children: started, watched, restarted, replaced.
