// Gives the precompiled headers of the tests (cmake/EqatTargets.cmake) a target to belong to.
