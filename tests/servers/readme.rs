//! README.md shows some of the recipes.

use crate::harness::{Recipe, file};

#[test]
fn commands_in_the_readme_are_those_of_the_recipes() {
    let readme = std::fs::read_to_string(file("README.md")).unwrap();
    let section = readme.split_once("\n### With your server\n").unwrap().1;
    let block = section.split("```").nth(1).unwrap();
    let commands: Vec<&str> = block.lines().skip(1).collect();
    let recipes = ["gunicorn", "Puma", "Starman", "h2o"].map(|name| Recipe::of(name).command);
    assert_eq!(commands, recipes);
}
