//! Values by key, where a key is never used again. Places are given out in a fixed order.

/// Names a value; stale when it was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    places: Vec<Cell<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Cell<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Arena<T> {
    pub(crate) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Cell {
                generation: 0,
                value: None,
            });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        place.value = Some(value);
        Key {
            index,
            generation: place.generation,
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        place
            .value
            .as_ref()
            .filter(|_| place.generation == key.generation)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        let is_current = place.generation == key.generation;
        place.value.as_mut().filter(|_| is_current)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        // A key of the value is stale from here on, also when the place holds another one.
        place.generation += 1;
        self.free.push(key.index);
        Some(value)
    }

    /// Values that are there.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Every value with its key, by place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let key = Key {
                index: index as u32,
                generation: place.generation,
            };
            Some((key, place.value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_a_removed_value_finds_nothing_although_its_place_is_used_again() {
        let mut arena = Arena::new();
        let first = arena.insert(1);
        assert_eq!(arena.remove(first), Some(1));
        let second = arena.insert(2);
        assert_eq!((arena.get(first), arena.get(second)), (None, Some(&2)));
        assert_eq!((arena.remove(first), arena.len()), (None, 1));
        assert_eq!(arena.iter().count(), 1);
    }
}
