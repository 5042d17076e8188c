"""What makes a project run by itself: schedules, sensors, the Dagster instance, and the processes of `make up`."""
