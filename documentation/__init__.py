"""The site: pages gathered from the repository, the notebook run, pictures drawn, all checked."""
